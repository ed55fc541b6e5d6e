import type { Warning } from "../build/warnings/find-warnings.ts";
import type { FunctionRecord } from "../match/comparison-record.ts";
import type { Refusal } from "../refusals/refusals.ts";
import type { TryResult } from "../vm/try-types.ts";
import type { ModuleMap } from "./module-map.ts";

/** What a report is about, and all that the page shows: the stable `--json` of `kmend report`. */
export interface ReviewReport {
  readonly schema: 1;
  readonly subject: {
    readonly kind: "patch" | "module" | "update";
    /** Base names of the files that were given. */
    readonly files: readonly string[];
  };
  readonly verdict: Verdict;
  /** Changed source files; none for a module alone, which does not carry its patch. */
  readonly files: readonly SourceChange[];
  readonly functions: readonly ReportedFunction[];
  /** Matched functions of each unit that the patch touches. */
  readonly units: readonly {
    readonly path: string;
    readonly object: string;
    readonly matched: number;
    readonly functions: number;
  }[];
  /** Symbols of the running kernel that the new code reaches. */
  readonly symbols: readonly ReachedSymbol[];
  readonly graph: ReachGraph;
  readonly types: readonly TouchedType[];
  /** What is in the module; null when none was made. */
  readonly module: ModuleMap | null;
  /** Null when the module was not tried. */
  readonly trial: Trial | null;
  readonly repeat: Repetition;
}

/** The trial, without the times that its steps took on this machine. */
export type Trial = Omit<TryResult, "milliseconds" | "schema">;

/** What a reviewer reads first. */
export interface Verdict {
  /**
   * `built` and `unchanged` and `refused` are those of a build; `proven` and `failed` of a finished module that was held against its kernel; `unchecked` of one
   * whose kernel could not be found.
   */
  readonly outcome: "built" | "unchanged" | "refused" | "proven" | "failed" | "unchecked";
  readonly kernel: { readonly release: string; readonly buildId: string };
  readonly module: { readonly name: string; readonly sha256: string; readonly bytes: number } | null;
  /** Whether the file of the module is as it was built: `unsealed` where nothing shows it; null when there is no module. */
  readonly file: "intact" | "unsealed" | null;
  readonly cves: readonly string[];
  readonly functions: {
    readonly changed: number;
    readonly new: number;
    /** Of the changed ones, those whose original is the kernel's. */
    readonly proven: number;
  };
  readonly trial: "passed" | "failed" | "none";
  readonly refusals: readonly Refusal[];
  readonly warnings: readonly Warning[];
  readonly notes: readonly string[];
  /** Who has to look at what before the module is used. */
  readonly attention: readonly Attention[];
  /** What was rewritten of the patch, and what that rests on. */
  readonly adapted: { readonly parts: readonly string[]; readonly assumptions: readonly string[] } | null;
}

/** Something that a person has to decide. */
export interface Attention {
  readonly who: "author" | "reviewer" | "operator";
  readonly what: string;
  /** Anchor of the part of the page that shows it. */
  readonly section: SectionId;
}

/** The ten parts of the page, in their order; each is an anchor. */
export const sectionIds = [
  "verdict",
  "patch",
  "functions",
  "proof",
  "graph",
  "types",
  "state",
  "module",
  "trial",
  "repeat",
] as const;

export type SectionId = (typeof sectionIds)[number];

/** A source file before and after. */
export interface SourceChange {
  readonly path: string;
  readonly kind: "modified" | "added" | "deleted";
  readonly hunks: readonly Hunk[];
  /** What became of the file as a whole, where its hunks do not say. */
  readonly fates: readonly Fate[];
}

/** A piece of the change with its surroundings. */
export interface Hunk {
  readonly oldStart: number;
  readonly newStart: number;
  readonly lines: readonly HunkLine[];
  readonly fates: readonly Fate[];
}

/** One line of a hunk; its number in the file before and after, null where it is not there. */
export interface HunkLine {
  readonly kind: "context" | "added" | "removed";
  readonly old: number | null;
  readonly new: number | null;
  readonly text: string;
  /** Refusals that name this line. */
  readonly refused: readonly string[];
}

/** What became of a part of the source change. */
export interface Fate {
  /**
   * `edited`: a function of the kernel is replaced; `new`: the module brings a function; `inlined`: its code is in these functions, which are replaced; `carried`:
   * data goes into the module; `lines`: only comments or numbers of lines; `left-out`: this kernel has no code of it; `unchanged`: the code is the same;
   * `unknown`: what the build found out does not tell; `refused`. Of a refused patch, `edited`, `new`, `inlined` and `carried` say what would be.
   */
  readonly kind: "edited" | "new" | "inlined" | "carried" | "lines" | "left-out" | "unchanged" | "unknown" | "refused";
  readonly text: string;
  /** Functions of the source that it is about. */
  readonly source: readonly string[];
  /** The functions that it leads to. */
  readonly functions: readonly FateFunction[];
}

/** A function that the page may show. */
export interface FateFunction extends Pick<ReportedFunction, "name" | "object" | "unit"> {
  /** Its anchor, {@link ReportedFunction.id}; null where the page does not show it. */
  readonly id: string | null;
}

/** A function that the module replaces or brings. */
export interface ReportedFunction {
  /** Anchor in the page, such as `fn-3`. */
  readonly id: string;
  readonly name: string;
  readonly object: string;
  readonly unit: string;
  readonly sympos: number;
  readonly change: "changed" | "new";
  /** Whether the original is the kernel's; null where it was not looked at, and for a new function, which has none. */
  readonly proven: boolean | null;
  readonly reason: string;
  /** Bytes of the code in the kernel, and in the module. */
  readonly bytes: { readonly shipped: number | null; readonly patched: number | null };
  /** Both codes, aligned by instruction; null where kmend has only one of them. */
  readonly code: CodeView | null;
  /** What was compared with the kernel; null for a new or unproven function. */
  readonly proof: FunctionRecord | null;
  /** Functions of the source that the compiler has put into the patched code. */
  readonly inlined: readonly string[];
  readonly state: StateChange | null;
}

/** Both codes of a function. */
export interface CodeView {
  readonly rows: readonly CodeRow[];
  /** Instructions that differ. */
  readonly differing: number;
}

/** Both builds of a place; null where one has nothing like it. */
export interface CodeRow {
  readonly shipped: CodeLine | null;
  readonly patched: CodeLine | null;
  readonly differs: boolean;
  /** The line of the source whose code begins here; missing where the one before goes on. */
  readonly source?: CodeSource | undefined;
}

/** A line of the source. The compiler counts unchanged lines as before the patch, so a line of the patch may share the number of the one that follows it. */
export interface CodeSource {
  /** `file.c:12` */
  readonly place: string;
  /** Text of the line as the kernel was built with it; null where there is none, or it cannot be read. */
  readonly text: string | null;
  /** Text of the line of the patch that has this number too; only where new code is. */
  readonly added: string | null;
}

/** An instruction. */
export interface CodeLine {
  /** From the function's symbol; bytes. */
  readonly at: number;
  readonly text: string;
  /** What its relocations name, unless the text does. */
  readonly names: readonly string[];
  /** Where a branch within the function leads to. */
  readonly jump: number | null;
}

/** Locks and data of a function, before and after. */
export interface StateChange {
  readonly locks: readonly Before[];
  readonly data: readonly Before[];
  readonly calls: readonly Before[];
}

/** A use that is there before, after, or both. */
export interface Before {
  readonly what: string;
  readonly before: boolean;
  readonly after: boolean;
}

/** A symbol that the new code reaches by a livepatch relocation, or through the module loader. */
export interface ReachedSymbol {
  readonly name: string;
  readonly object: string;
  readonly sympos: number;
  readonly proof: string;
}

/** Who calls whom. */
export interface ReachGraph {
  readonly nodes: readonly ReachNode[];
  readonly edges: readonly ReachEdge[];
  /** Callers and reached symbols that are left out, since there are too many to be read. */
  readonly leftOut: number;
}

export interface ReachNode {
  readonly id: string;
  readonly name: string;
  /** `vmlinux`, a module, or `this module` for what it brings itself. */
  readonly object: string;
  readonly kind: "changed" | "new" | "caller" | "inlined" | "reached";
  /** ftrace leaves it alone, or it ran at boot only. */
  readonly mark: "notrace" | "init" | null;
}

export interface ReachEdge {
  readonly from: string;
  readonly to: string;
  readonly kind: "calls" | "inlined" | "reaches";
}

/** A struct or union that the patch changes, or of which its changed lines use members. */
export interface TouchedType {
  /** With `struct` or `union`. */
  readonly name: string;
  readonly object: string;
  /** Bytes; null where one side does not have it. */
  readonly size: { readonly shipped: number | null; readonly patched: number | null };
  readonly isChanged: boolean;
  readonly rows: readonly TypeRow[];
}

/** A member, or a hole, on both sides. */
export interface TypeRow {
  readonly shipped: TypeMember | null;
  readonly patched: TypeMember | null;
  readonly differs: boolean;
  /** The changed lines name it. */
  readonly isUsed: boolean;
}

export interface TypeMember {
  /** `8`, or `8.3` for a bit field: bytes and bits from the start. */
  readonly at: string;
  /** Bytes, or bits of a bit field with ` bit`. */
  readonly size: string;
  /** As C declares it; null for a hole. */
  readonly text: string | null;
}

/** How to come to the same module again. */
export interface Repetition {
  readonly commands: readonly string[];
  readonly versions: readonly { readonly what: string; readonly version: string }[];
  readonly digests: readonly { readonly what: string; readonly sha256: string }[];
}

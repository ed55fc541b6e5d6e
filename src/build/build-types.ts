import type { Assumption, RewrittenPart } from "../adapt/adaptation.ts";
import type { ChangeSet, SourceOverlay } from "../change/change-set.ts";
import type { KernelChoice } from "../kernel/kernel-choice.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import type { Refusal } from "../refusals/refusals.ts";
import type { Progress } from "../support/progress.ts";
import type { ExternalRequest } from "./external-module.ts";
import type { Warning } from "./warnings/find-warnings.ts";

/**
 * Reads a change.
 * @param tree the kernel's source, as it was without any update.
 * @param work a private folder.
 */
export type ReadChange = (tree: string, work: string) => Promise<ChangeSet>;

/** What runs on the target kernel already. */
export interface EarlierUpdates {
  /** Source files that differ from the kernel's own with them. */
  readonly files: SourceOverlay;
  /** Their patch modules, oldest first. */
  readonly modules: readonly { readonly name: string; readonly content: Uint8Array }[];
}

/** An object file of a build: `original` or `patched` of a unit, or what was `extracted` from it. */
export interface KeptObject {
  readonly kind: "original" | "patched" | "extracted";
  /** Source file of the unit. */
  readonly unit: string;
  /** `vmlinux` or the module's name. */
  readonly object: string;
  readonly content: Uint8Array;
}

/** What `build` is asked to do; each field is the command line option of that name. */
export interface BuildOptions extends KernelChoice {
  /** Patch files (unified diffs, strip level 1), applied in this order. */
  readonly patches: readonly string[];
  /** Folder that gets the module; default the current one. */
  readonly output?: string | undefined;
  /** Module name; default `livepatch-<patch name>`. */
  readonly name?: string | undefined;
  /** Cumulative replace of all earlier patch modules; default true. */
  readonly replace?: boolean | undefined;
  /** Compilers at once; default all cores. */
  readonly jobs?: number | undefined;
  /** How many units a changed header may touch before the build is refused; default 500. */
  readonly maxUnits?: number | undefined;
  /** Go on when the compiler is not the one that the kernel names. */
  readonly skipCompilerCheck?: boolean | undefined;
  /** Types and functions whose changed layout is accepted: `page`, `struct page`; `*` for all. */
  readonly allowLayout?: readonly string[] | undefined;
  /** Rewrite what would be refused for its data, as `adapt` does. */
  readonly adapt?: boolean | undefined;
  /** The author's word that the module can be unloaded though addresses of it may be kept. */
  readonly removable?: boolean | undefined;
  /** Vulnerabilities that the patches fix, for the manifest. */
  readonly cves?: readonly string[] | undefined;
  /** The patches change this module, which is not part of the kernel; their file names are relative to its source. */
  readonly external?: ExternalRequest | undefined;
  /** Reads the change, in place of `patches`. */
  readonly change?: ReadChange | undefined;
  /** The target kernel when it is known already. */
  readonly target?: TargetKernel | undefined;
  /** Updates that are in force, on top of which this one goes; the module then does not replace any. */
  readonly earlier?: EarlierUpdates | undefined;
  /** Folder that gets all that the run reads, so that it can be repeated elsewhere; it must not have anything in it. */
  readonly saveRepro?: string | undefined;
  /** Called with the objects of each unit before they are gone. */
  readonly onObjects?: ((objects: readonly KeptObject[]) => void) | undefined;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A function that the patch module replaces (`changed`) or adds (`new`). */
export interface BuiltFunction {
  readonly name: string;
  /** `vmlinux` or a module's name, as in `klp_object`. */
  readonly object: string;
  /** Source file of its translation unit. */
  readonly unit: string;
  /** Position among equally named symbols of the object, as the kernel counts them; 0 when the name is unique. */
  readonly sympos: number;
  readonly change: "changed" | "new";
  /** For `changed`: its original was matched with the shipped image. New functions have nothing to match and are true when all they reach is proven. */
  readonly proven: boolean;
  /** Why it counts as changed: the first difference, with the source line where known. */
  readonly reason: string;
}

/** What was rewritten of a patch. */
export interface AdaptedParts {
  readonly parts: readonly RewrittenPart[];
  readonly assumptions: readonly Assumption[];
}

/** The stable `--json` of `kmend build`. */
export interface BuildResult {
  readonly schema: 1;
  readonly outcome: "built" | "unchanged" | "refused" | "failed";
  readonly kernel: { readonly release: string; readonly buildId: string };
  readonly module: {
    readonly path: string;
    readonly name: string;
    readonly sha256: string;
    readonly bytes: number;
    /** True when it stays in memory until the next boot, since addresses of it may be kept (`ADDRESS_KEPT` among the warnings). */
    readonly staysInMemory: boolean;
  } | null;
  readonly functions: readonly BuiltFunction[];
  readonly refusals: readonly Refusal[];
  readonly units: readonly { readonly path: string; readonly object: string }[];
  /** Symbols that the new code reaches by klp relocation, and how each was proven. */
  readonly symbols: readonly {
    readonly name: string;
    readonly object: string;
    readonly sympos: number;
    readonly proof: string;
  }[];
  /** What `--adapt` has rewritten, and what that rests on; missing when nothing was. */
  readonly adapted?: AdaptedParts | undefined;
  /** Remarks: fuzz, files that this kernel does not build, things to watch. */
  readonly notes: readonly string[];
  /** What the author should look at. */
  readonly warnings: readonly Warning[];
  readonly milliseconds: Readonly<Record<string, number>>;
}

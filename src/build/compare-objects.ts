import { findChanges, type UnitChanges } from "../diff/changes.ts";
import { correlate } from "../diff/correlate.ts";
import { compareDefinitions } from "../diff/definitions.ts";
import type { LineRule } from "../diff/lines/line-moves.ts";
import { refuseComparedCopies } from "../diff/lost-identity/compared-addresses.ts";
import { refuseExchanged } from "../diff/lost-identity/exchanged-names.ts";
import { refuseRenamedState } from "../diff/lost-identity/renamed-state.ts";
import { selectCarried } from "../diff/select.ts";
import { readUnitObject, type UnitObject } from "../diff/unit-object.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import type { ExportedSymbols } from "../kernel/modules/symvers.ts";
import { ListedObject, listedProof, ownAddress } from "../match/listed-object.ts";
import type { ListedSymbol } from "../match/symbol-table.ts";
import type { Refusal } from "../refusals/refusals.ts";
import { KmendError } from "../support/errors.ts";
import { extractUnit, type KlpRelocation } from "./assemble/extract.ts";
import { requireComparable } from "./comparable.ts";
import { changedLines } from "./pairs/changed-lines.ts";
import { type ResolvedUnit, resolveUnit, type UnitPlan } from "./resolve/plan.ts";

/** What is known beside the two objects. */
export interface CompareInput {
  /** Names of the two objects, for messages. */
  readonly originalName: string;
  readonly patchedName: string;
  /** `vmlinux` or the module that the unit belongs to. */
  readonly object: string;
  /** Symbols of that object, and where they are from; without them names are taken to be unique. */
  readonly listed?: readonly ListedSymbol[] | undefined;
  readonly listedName?: string | undefined;
  /** What the kernel exports; without it nothing counts as exported. */
  readonly symvers?: ExportedSymbols | undefined;
  /** `moved` (the default): a number that only repeats a line of the source that moved is no change. `strict`: it is one. */
  readonly lines?: LineRule | undefined;
  /** True to fail when no extract can be written for this kind of object. */
  readonly wantsExtract: boolean;
}

/** The stable `--json` of `kmend diff`. */
export interface DiffResult {
  readonly schema: 1;
  readonly outcome: "changed" | "unchanged" | "refused";
  readonly changedFunctions: readonly {
    readonly name: string;
    /** What differs first, with the source line where the object has line information. */
    readonly reason: string;
    /** Place of the first difference in the patched function, in bytes from its symbol. */
    readonly offset: number | null;
    /** `file.c:12`. */
    readonly line: string | null;
  }[];
  /** Functions that are the same but for numbers of source lines that moved; missing when there are none. */
  readonly movedLines?: readonly {
    readonly name: string;
    /** Each line before and with the patch, in their order. */
    readonly lines: readonly (readonly [number, number])[];
  }[];
  readonly newFunctions: readonly string[];
  readonly newData: readonly string[];
  readonly callbacks: readonly string[];
  readonly patched: readonly { readonly name: string; readonly size: number; readonly sympos: number }[];
  readonly klpRelocations: readonly {
    readonly section: string;
    readonly symbol: string;
    readonly object: string;
    readonly sympos: number;
    readonly type: number;
    readonly offset: number;
    readonly addend: number;
  }[];
  /** Bytes kept of each special table. */
  readonly specialSections: Readonly<Record<string, number>>;
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
}

/**
 * Compares two builds of one translation unit.
 * @returns the result, and the extract when there is something to carry and nothing is refused.
 * @throws ElfFormatError, KmendError `NOT_RELOCATABLE`, `NO_MACHINE_CODE`, `ARCHITECTURE`, `DIFFERENT_MACHINES`, `DIFFERENT_UNITS`, `STRIPPED`, `TABLE_SIZE`.
 */
export async function compareObjects(
  originalFile: Uint8Array,
  patchedFile: Uint8Array,
  input: CompareInput,
): Promise<{ result: DiffResult; extract: Uint8Array | undefined }> {
  const { originalName, patchedName, object } = input;
  const original = await readUnit(originalFile, originalName);
  const patched = await readUnit(patchedFile, patchedName);
  requireComparable(original, patched, input);
  const correlation = correlate(original, patched);
  const changes = findChanges(original, patched, correlation, patchedName, object, undefined, input.lines ?? "moved");
  const selection = selectCarried(patched, correlation, changes, patchedName, object);
  const listed = input.listed ?? ownSymbols(original);
  const target = new ListedObject(object, listed, input.listedName ?? originalName);
  const plan: UnitPlan = {
    pair: { source: patchedName, object, originalPath: originalName, patchedPath: patchedName },
    original,
    patched,
    correlation,
    definitions: compareDefinitions(original, patched),
    changes,
    selection,
    proof: listedProof(original, target, listed, input.listed === undefined),
    target,
  };
  const unit = resolveUnit(plan, {
    symvers: input.symvers ?? new Map(),
    // Without a symbol table nobody can say which outside symbols the kernel has: the loader finds out.
    externalsUnknown: input.listed === undefined,
    newGlobals: new Map(),
    settled: new Map(),
    compiler: { same: true, kernel: "", here: "", program: "" },
  });
  const refusals = [
    ...changes.refusals,
    ...selection.refusals,
    ...unit.refusals,
    ...refuseRenamedState(plan),
    ...refuseExchanged(plan),
    ...refuseComparedCopies(plan),
  ];
  const isEmpty = selection.atoms.length === 0;
  const outcome = refusals.length > 0 ? "refused" : isEmpty ? "unchanged" : "changed";
  if (patched.hasDescriptors && input.wantsExtract) {
    throw new KmendError({
      code: "ARCHITECTURE",
      message: "an extract of an object with function descriptors (PowerPC ELF V1) cannot be written",
      why: "no kernel of that ABI has livepatch: it needs ELF V2",
      hint: "leave out --output to compare the objects, or build them with -mabi=elfv2",
    });
  }
  const extract = outcome === "changed" && !patched.hasDescriptors ? extractOf(unit, object) : undefined;
  const lines = changedLines(patched, changes.functions.values());
  const carried = new Set(selection.atoms);
  const listedChanges = [...changes.functions.values()].filter(({ atom }) => carried.has(atom));
  const result: DiffResult = {
    schema: 1,
    outcome,
    changedFunctions: listedChanges
      .filter(({ change }) => change === "changed")
      .map(({ atom, original: before, reason, differsAt }) => {
        const line = lines.get(atom) ?? null;
        const entry = (atom.symbol?.value ?? atom.start) - atom.start;
        return {
          // The running kernel has the name that the compiler made then.
          name: before?.name ?? atom.name,
          reason: line === null ? reason : `${reason} (${line})`,
          offset: differsAt === undefined ? null : differsAt - entry,
          line,
        };
      }),
    ...movedLinesOf(changes),
    newFunctions: listedChanges.filter(({ change }) => change === "new").map(({ atom }) => atom.name),
    newData: selection.atoms
      .filter((atom) => (atom.kind === "data" || atom.kind === "bss") && atom.symbol !== undefined)
      .map(({ name }) => name),
    callbacks: changes.callbacks.map(({ kind, function: callback }) => `${kind}: ${callback.name}`),
    patched: unit.redirections.map(({ atom, oldName, sympos }) => ({
      name: oldName,
      size: atom.symbol?.size ?? 0,
      sympos,
    })),
    klpRelocations: (extract?.klpRelocations ?? []).map(describeRelocation),
    specialSections: extract?.tableBytes ?? {},
    refusals,
    notes: [...changes.notes, ...unit.notes, ...countedHere(input, unit, extract?.klpRelocations ?? [])],
  };
  return { result, extract: extract?.object };
}

function movedLinesOf({ movedLines, functions }: UnitChanges): Pick<DiffResult, "movedLines"> {
  const unchanged = [...movedLines].filter(([atom]) => !functions.has(atom));
  if (unchanged.length === 0) return {};
  return {
    movedLines: unchanged.map(([{ name }, lines]) => ({
      name,
      lines: lines.map(({ from, to }) => [from, to] as const),
    })),
  };
}

/** Reads a unit; errors name the file. */
export async function readUnit(file: Uint8Array, path: string): Promise<UnitObject> {
  try {
    return await readUnitObject(file);
  } catch (error) {
    if (error instanceof ElfFormatError) throw error.in(path);
    if (!(error instanceof KmendError) || error.where !== undefined) throw error;
    const { code, message, why, hint, exitCode } = error;
    throw new KmendError({ code, message, where: path, why, hint, exitCode, cause: error });
  }
}

/** Of several symbols of one name, the unit alone tells positions among its own only. */
function countedHere(
  { listed, object }: CompareInput,
  { redirections }: ResolvedUnit,
  relocations: readonly KlpRelocation[],
): string[] {
  if (listed !== undefined) return [];
  const counted = [
    ...redirections.flatMap(({ oldName, sympos }) => (sympos > 0 ? [oldName] : [])),
    ...relocations.flatMap(({ symbol }) => (symbol.object === object && symbol.sympos > 0 ? [symbol.name] : [])),
  ];
  const names = [...new Set(counted)];
  if (names.length === 0) return [];
  return [
    `the positions of ${names.join(", ")} are counted in this object alone; those of ${object} come from its symbol table (--symtab)`,
  ];
}

/** Without a symbol table the unit's own names stand for those of the kernel. */
function ownSymbols(original: UnitObject): ListedSymbol[] {
  return original.elf.symbols.flatMap((symbol) =>
    symbol.section > 0 && symbol.type !== 3
      ? [
          {
            name: symbol.name,
            address: ownAddress(symbol),
            size: symbol.size,
            isGlobal: symbol.binding !== 0,
            isFile: false,
          },
        ]
      : [],
  );
}

function extractOf(unit: ResolvedUnit, object: string): ReturnType<typeof extractUnit> {
  return extractUnit({
    unit: unit.plan.patched,
    selection: unit.selection,
    redirections: unit.redirections,
    callbacks: unit.plan.changes.callbacks,
    object,
    number: 0,
    reachOriginal: unit.reachOriginal,
    reachExternal: unit.reachExternal,
  });
}

function describeRelocation({
  section,
  symbol,
  type,
  offset,
  addend,
}: KlpRelocation): DiffResult["klpRelocations"][number] {
  return { section, symbol: symbol.name, object: symbol.object, sympos: symbol.sympos, type, offset, addend };
}

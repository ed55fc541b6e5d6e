import { readFile } from "node:fs/promises";
import { findChanges } from "../diff/changes.ts";
import { correlate } from "../diff/correlate.ts";
import { selectCarried } from "../diff/select.ts";
import { readUnitObject, type UnitObject } from "../diff/unit-object.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import { ListedObject, listedProof } from "../match/listed-object.ts";
import { readSymbolTable } from "../match/symbol-table.ts";
import { writeFileAtomically } from "../support/cache.ts";
import { ExitCode, KmendError, messageOf } from "../support/errors.ts";
import type { Refusal } from "../support/refusals.ts";
import { parseSymvers, type SymversEntry } from "../target/symvers.ts";
import { changedLines } from "./changed-lines.ts";
import { extractUnit, type KlpRelocation } from "./extract.ts";
import { type ResolvedUnit, resolveUnit, type UnitPlan } from "./plan.ts";

/** What `kmend diff` is asked to do. */
export interface DiffOptions {
  /** Paths of the two builds of one unit. */
  readonly original: string;
  readonly patched: string;
  /** Where the extract goes; nothing is written without it. */
  readonly output?: string | undefined;
  /** `vmlinux` (the default) or the module that the unit belongs to. */
  readonly object?: string | undefined;
  /** Symbol table of that object; without it names are taken to be unique. */
  readonly symtab?: string | undefined;
  /** Module.symvers of the kernel; without it nothing counts as exported. */
  readonly symvers?: string | undefined;
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
 * Compares two builds of one translation unit, without a kernel tree or image, and writes what a patch module needs of the second.
 * @throws ElfFormatError, KmendError `FILE_MISSING`, `SYMBOL_TABLE`, `DIFFERENT_MACHINES`, `SYMVERS_DAMAGED`.
 */
export async function diffObjects(options: DiffOptions): Promise<DiffResult> {
  const object = options.object ?? "vmlinux";
  requireObjectName(object);
  const original = await readUnit(options.original);
  const patched = await readUnit(options.patched);
  requireSameMachine(original, patched, options);
  const correlation = correlate(original, patched);
  const changes = findChanges(original, patched, correlation, options.patched, object);
  const selection = selectCarried(patched, correlation, changes, options.patched, object);
  const listed =
    options.symtab === undefined
      ? ownSymbols(original)
      : readSymbolTable(await readInput(options.symtab), options.symtab, object);
  const target = new ListedObject(object, listed, options.symtab ?? options.original);
  const symvers =
    options.symvers === undefined
      ? new Map<string, SymversEntry>()
      : parseSymvers(Buffer.from(await readInput(options.symvers)).toString("utf8"), options.symvers);
  const plan: UnitPlan = {
    pair: { source: options.patched, object, originalPath: options.original, patchedPath: options.patched },
    patched,
    changes,
    selection,
    proof: listedProof(original, target, listed),
    target,
  };
  const unit = resolveUnit(plan, {
    symvers,
    // Without a symbol table nobody can say which outside symbols the kernel has: the loader finds out.
    externalsUnknown: options.symtab === undefined,
    newGlobals: new Map(),
    settled: new Map(),
    compiler: { same: true, kernel: "", here: "", program: "" },
  });
  const refusals = [...changes.refusals, ...selection.refusals, ...unit.refusals];
  const isEmpty = selection.atoms.length === 0;
  const outcome = refusals.length > 0 ? "refused" : isEmpty ? "unchanged" : "changed";
  if (patched.hasDescriptors && options.output !== undefined) {
    throw new KmendError({
      code: "ARCHITECTURE",
      message: "an extract of an object with function descriptors (PowerPC ELF V1) cannot be written",
      why: "no kernel of that ABI has livepatch: it needs ELF V2",
      hint: "leave out --output to compare the objects, or build them with -mabi=elfv2",
    });
  }
  const extract = outcome === "changed" && !patched.hasDescriptors ? extractOf(unit, object) : undefined;
  if (extract !== undefined && options.output !== undefined) await writeFileAtomically(options.output, extract.object);
  const lines = changedLines(patched, changes.functions.values());
  const listedChanges = [...changes.functions.values()].filter(({ atom }) => selection.atoms.includes(atom));
  return {
    schema: 1,
    outcome,
    changedFunctions: listedChanges
      .filter(({ change }) => change === "changed")
      .map(({ atom, reason, differsAt }) => {
        const line = lines.get(atom) ?? null;
        const entry = (atom.symbol?.value ?? atom.start) - atom.start;
        return {
          name: atom.name,
          reason: line === null ? reason : `${reason} (${line})`,
          offset: differsAt === undefined ? null : differsAt - entry,
          line,
        };
      }),
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
    notes: [...changes.notes, ...unit.notes],
  };
}

/** What the kernel's loader reads from the name of a livepatch section: 55 characters without a dot, `-` written as `_` (kernel/livepatch/core.c). */
function requireObjectName(object: string): void {
  if (/^\w{1,55}$/.test(object)) return;
  throw new KmendError({
    code: "USAGE",
    message: `${JSON.stringify(object)} is not the name of a kernel object`,
    why: "livepatch sections name an object by up to 55 letters, digits and underscores",
    hint: "give vmlinux, or the module's name as in /proc/modules",
    exitCode: ExitCode.usage,
  });
}

/** Reads a unit; errors name the file. */
async function readUnit(path: string): Promise<UnitObject> {
  const file = await readInput(path);
  try {
    return await readUnitObject(file);
  } catch (error) {
    if (error instanceof ElfFormatError) throw error.in(path);
    if (!(error instanceof KmendError) || error.where !== undefined) throw error;
    const { code, message, why, hint, exitCode } = error;
    throw new KmendError({ code, message, where: path, why, hint, exitCode, cause: error });
  }
}

/** @throws KmendError `DIFFERENT_MACHINES` when the two cannot be builds of one unit for one kernel. */
function requireSameMachine(original: UnitObject, patched: UnitObject, options: DiffOptions): void {
  const describe = ({ elf, arch }: UnitObject): string =>
    `${arch.name}, ${elf.littleEndian ? "little" : "big"}-endian, e_flags 0x${elf.header.flags.toString(16)}`;
  const [before, after] = [describe(original), describe(patched)];
  if (before === after) return;
  throw new KmendError({
    code: "DIFFERENT_MACHINES",
    message: `${options.original} and ${options.patched} are not for the same machine`,
    why: `the one is ${before}, the other ${after}`,
    hint: "give two builds of one source file, made by the same compiler with the same options",
    exitCode: ExitCode.usage,
  });
}

async function readInput(path: string): Promise<Uint8Array> {
  return readFile(path).catch((error: unknown) => {
    throw new KmendError({
      code: "FILE_MISSING",
      message: `cannot read ${path}: ${messageOf(error)}`,
      where: path,
      hint: "give the path of a file that exists",
      exitCode: ExitCode.usage,
      cause: error,
    });
  });
}

/** Without a symbol table the unit's own names stand for those of the kernel. */
function ownSymbols(original: Awaited<ReturnType<typeof readUnitObject>>): ReturnType<typeof readSymbolTable> {
  return original.elf.symbols.flatMap((symbol) =>
    symbol.section > 0 && symbol.type !== 3
      ? [
          {
            name: symbol.name,
            address: symbol.section * 2 ** 32 + symbol.value,
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

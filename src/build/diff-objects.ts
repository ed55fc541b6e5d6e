import type { LayoutFindings } from "../diff/layout.ts";
import { Symvers } from "../kernel/modules/symvers.ts";
import { readSymbolTable } from "../match/symbol-table.ts";
import { ExitCode, KmendError, messageOf } from "../support/errors.ts";
import { readInputFile } from "../support/input-file.ts";
import { writeOutputFile } from "../support/output-folder.ts";
import { type CompareInput, compareObjects, type DiffResult } from "./compare-objects.ts";

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
  /** See {@link CompareInput}. */
  readonly lines?: CompareInput["lines"];
  /** Whether the types of both objects are compared too, from their debug information. */
  readonly layouts?: "compare" | "ignore" | undefined;
  /** Types and variables whose change is accepted; `*` for all. */
  readonly allowLayout?: readonly string[] | undefined;
}

/** What is known beside the objects: the same for all pairs of a batch. */
export type DiffKnowledge = Pick<DiffOptions, "object" | "symtab" | "symvers" | "lines" | "layouts" | "allowLayout">;

/** Compares pairs of objects that have the same kernel. */
export type PairDiff = (pair: Pick<DiffOptions, "original" | "patched" | "output">) => Promise<DiffResult>;

/**
 * Compares two builds of one translation unit, without a kernel tree or image, and writes what a patch module needs of the second.
 * @throws ElfFormatError, KmendError `FILE_MISSING`, `SYMBOL_TABLE`, `DIFFERENT_MACHINES`, `DIFFERENT_UNITS`, `SYMVERS_DAMAGED`.
 */
export async function diffObjects(options: DiffOptions): Promise<DiffResult> {
  return (await pairDiff(options))(options);
}

/** Reads what all pairs share. @throws KmendError `FILE_MISSING`, `SYMBOL_TABLE`, `SYMVERS_DAMAGED`. */
export async function pairDiff({
  object = "vmlinux",
  symtab,
  symvers,
  lines,
  layouts,
  allowLayout = [],
}: DiffKnowledge): Promise<PairDiff> {
  requireObjectName(object);
  const [symbols, exported] = await Promise.all(
    [symtab, symvers].map((path) => (path === undefined ? undefined : readInput(path))),
  );
  const known = {
    object,
    listed: symbols && readSymbolTable(symbols, symtab as string, object),
    listedName: symtab,
    symvers: exported && new Symvers(Buffer.from(exported).toString("utf8"), symvers as string),
    lines,
  };
  return async ({ original, patched, output }) => {
    const [before, after] = await Promise.all([readInput(original), readInput(patched)]);
    const { result, extract } = await compareObjects(before, after, {
      ...known,
      originalName: original,
      patchedName: patched,
      wantsExtract: output !== undefined,
    });
    const found =
      layouts === "compare" && result.outcome !== "unchanged"
        ? await compareLayouts([original, patched], [before, after], allowLayout)
        : { refusals: [], notes: [] };
    const whole = withLayouts(result, found);
    if (extract !== undefined && output !== undefined && whole.outcome === "changed")
      await writeOutputFile(output, extract, [original, patched]);
    return whole;
  };
}

/** Loads the comparison of types, with the programs that it runs, only for a pair that needs it. */
async function compareLayouts(
  [originalPath, patchedPath]: readonly [string, string],
  files: readonly [Uint8Array, Uint8Array],
  allowed: readonly string[],
): Promise<LayoutFindings> {
  const layouts = await import("./compare-layouts.ts");
  return layouts.compareLayouts({ originalPath, patchedPath, files, allowed });
}

/** A changed layout refuses what the functions alone would let pass. */
function withLayouts(result: DiffResult, { refusals, notes }: LayoutFindings): DiffResult {
  const all = { refusals: [...result.refusals, ...refusals], notes: [...result.notes, ...notes] };
  if (refusals.length === 0) return { ...result, ...all };
  return { ...result, ...all, outcome: "refused", klpRelocations: [], specialSections: {} };
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

/** Reads a file of the user. @throws KmendError `FILE_MISSING`. */
export async function readInput(path: string): Promise<Uint8Array> {
  return readInputFile(path).catch((error: unknown) => {
    if (error instanceof KmendError) throw error;
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

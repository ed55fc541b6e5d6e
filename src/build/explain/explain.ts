import { basename } from "node:path";
import { diffArrays } from "diff";
import type { TextInstruction } from "../../diff/arch/arch.ts";
import type { Atom } from "../../diff/atoms.ts";
import { Comparison, describeTarget } from "../../diff/compare.ts";
import { correlate } from "../../diff/correlate.ts";
import { LineMoves, type LineRule } from "../../diff/lines/line-moves.ts";
import type { UnitObject } from "../../diff/unit-object.ts";
import { type SourceLine, sourceLines } from "../../elf/line-table.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { requireComparable } from "../comparable.ts";
import { readUnit } from "../compare-objects.ts";
import { readInput } from "../diff-objects.ts";
import { disassemble } from "./disassemble.ts";

/** One instruction of a function. */
export interface ExplainedInstruction {
  /** From the function's symbol. */
  readonly offset: number;
  readonly text: string;
  /** What its relocations name, but the function that a branch in the text names. */
  readonly symbols: readonly string[];
  /** `file.c:12`; null without line information. */
  readonly line: string | null;
}

/** Both builds of a place of a function; null where one has nothing like it. */
export interface ExplainedRow {
  readonly original: ExplainedInstruction | null;
  readonly patched: ExplainedInstruction | null;
  /** `line`: they differ only in the number of a source line that moved. */
  readonly difference: "none" | "line" | "changed";
  /** The first that differs, of all rows. */
  readonly isFirst: boolean;
}

/** The stable `--json` of `kmend diff --explain`. */
export interface Explanation {
  readonly schema: 1;
  /** Names in the two objects; null in the one that does not have the function. */
  readonly original: string | null;
  readonly patched: string | null;
  /** What differs first, as the comparison sees it; null when nothing does. */
  readonly reason: string | null;
  readonly rows: readonly ExplainedRow[];
}

/** What is asked for. */
export interface ExplainOptions {
  /** Paths of the two builds of one unit. */
  readonly original: string;
  readonly patched: string;
  /** Its name in either of them. */
  readonly functionName: string;
  readonly lines?: LineRule | undefined;
}

/**
 * Shows both builds of a function side by side.
 * @throws ElfFormatError, KmendError `FILE_MISSING`, `DIFFERENT_MACHINES`, `DIFFERENT_UNITS`, `STRIPPED`, `NO_FUNCTION`, `PROGRAM_MISSING`.
 */
export async function explain(options: ExplainOptions): Promise<Explanation> {
  const [original, patched] = await Promise.all([
    readInput(options.original).then((file) => readUnit(file, options.original)),
    readInput(options.patched).then((file) => readUnit(file, options.patched)),
  ]);
  requireComparable(original, patched, { originalName: options.original, patchedName: options.patched });
  await patched.arch.loadDisassembler();
  const correlation = correlate(original, patched);
  const named = (unit: UnitObject): Atom | undefined =>
    unit.atoms.find(
      ({ kind, symbols }) => kind === "function" && symbols.some(({ name }) => name === options.functionName),
    );
  const [first, second] = [named(original), named(patched)];
  const after = (first === undefined ? undefined : correlation.patchedOf.get(first)) ?? second;
  const before = after === undefined ? first : correlation.originalOf.get(after);
  if (before === undefined && after === undefined) throw noFunction(options, [original, patched]);
  const lines = options.lines === "strict" ? undefined : new LineMoves(original, patched, correlation);
  const comparison = new Comparison(original, patched, correlation, lines);
  const difference = before === undefined || after === undefined ? null : comparison.difference(before, after);
  const [left, right] = await Promise.all([
    instructionsOf(original, before, options.original),
    instructionsOf(patched, after, options.patched),
  ]);
  const moved = before === undefined || after === undefined ? undefined : lines?.bitsOf(before, after);
  const rows = alignInstructions(left, right, (offset) => moved?.has(offset) === true);
  const marked = rows.findIndex((row) => row.difference === "changed");
  return {
    schema: 1,
    original: before?.name ?? null,
    patched: after?.name ?? null,
    reason: difference?.text ?? (before === undefined ? "new in this unit" : after === undefined ? "gone" : null),
    rows: rows.map(({ original: first, patched: second, difference: kind }, at) => ({
      original: first?.shown ?? null,
      patched: second?.shown ?? null,
      difference: kind,
      isFirst: at === marked,
    })),
  };
}

/** An instruction, and what it has to have in common with another to be the same. */
export interface AlignedInstruction {
  readonly shown: ExplainedInstruction;
  /** Offset in the atom. */
  readonly place: number;
  /** Equal for instructions that do the same. */
  readonly key: string;
  /** Where a branch within the function leads to, from its symbol; null for every other instruction. */
  readonly jump: number | null;
  /** Undefined without line information. */
  readonly source: SourceLine | undefined;
}

/**
 * The instructions of one build of a function, with the names of what they refer to and the lines of the source.
 * @param path of the object.
 * @returns none for a function that is not there.
 */
export async function instructionsOf(
  unit: UnitObject,
  atom: Atom | undefined,
  path: string,
): Promise<AlignedInstruction[]> {
  if (atom === undefined) return [];
  const instructions = await disassemble(unit, atom, path);
  const entry = (atom.symbol?.value ?? atom.start) - atom.start;
  const lines = sourceLines(
    unit.elf,
    instructions.map(({ offset }) => ({ section: atom.section.index, offset: atom.start + offset })),
    { withFolders: true },
  );
  return instructions.map((instruction, at) => {
    const source = lines[at];
    const symbols = atom.references
      .filter(({ offset }) => offset >= instruction.offset && offset < instruction.offset + instruction.length)
      .map(({ target }) => describeTarget(target));
    const line = source === undefined ? null : `${basename(source.file)}:${source.line}`;
    const [callee] = symbols;
    const isNamed = instruction.target !== undefined && symbols.length === 1 && callee !== undefined;
    const text = isNamed ? instruction.text.replace(numberAtEnd, () => callee) : instruction.text;
    return {
      shown: { offset: instruction.offset - entry, text, symbols: isNamed ? [] : symbols, line },
      place: instruction.offset,
      key: `${textWithoutPlaces(instruction, symbols)} ${symbols.join(" ")}`,
      source,
      jump: symbols.length > 0 || !isWithin(instruction.target, atom) ? null : instruction.target - entry,
    };
  });
}

function isWithin(target: number | undefined, { start, end }: Atom): target is number {
  return target !== undefined && target >= 0 && target < end - start;
}

const numberAtEnd = /(0x)?[0-9a-f]+$/;

/** Where a branch leads follows from what is between; the name of a relocation says more than the bytes it fills. */
function textWithoutPlaces({ text, target }: TextInstruction, symbols: readonly string[]): string {
  if (target !== undefined) return text.replace(numberAtEnd, "");
  return symbols.length > 0 ? text.replace(/-?(0x)?[0-9a-f]+(?=\(%rip\))/, "") : text;
}

/** Both builds of a place. */
export interface AlignedRow extends Pick<ExplainedRow, "difference"> {
  readonly original: AlignedInstruction | null;
  readonly patched: AlignedInstruction | null;
}

/**
 * Puts the instructions of two builds beside each other.
 * @param isLine true for an offset where only the number of a line that moved differs.
 */
export function alignInstructions(
  left: readonly AlignedInstruction[],
  right: readonly AlignedInstruction[],
  isLine: (offset: number) => boolean = () => false,
): AlignedRow[] {
  const parts = diffArrays([...left], [...right], { comparator: (a, b) => a.key === b.key });
  const rows: AlignedRow[] = [];
  let [at, other] = [0, 0];
  for (let part = 0; part < parts.length; part++) {
    const { added, removed, count } = parts[part] as (typeof parts)[number];
    if (!added && !removed) {
      for (let index = 0; index < count; index++)
        rows.push({ original: left[at++] ?? null, patched: right[other++] ?? null, difference: "none" });
      continue;
    }
    // What was taken out and what was put in for it stand beside each other.
    const next = parts[part + 1];
    const isReplaced = removed && next?.added === true;
    const [gone, fresh] = [removed ? count : 0, added ? count : isReplaced ? next.count : 0];
    for (let index = 0; index < Math.max(gone, fresh); index++) {
      const before = (index < gone ? left[at + index] : undefined) ?? null;
      const after = (index < fresh ? right[other + index] : undefined) ?? null;
      const isMoved = before !== null && after !== null && before.place === after.place && isLine(after.place);
      rows.push({ original: before, patched: after, difference: isMoved ? "line" : "changed" });
    }
    at += gone;
    other += fresh;
    if (isReplaced) part++;
  }
  return rows;
}

function noFunction({ functionName, original, patched }: ExplainOptions, units: readonly UnitObject[]): KmendError {
  const names = units.flatMap(({ atoms }) => atoms.filter(({ kind }) => kind === "function").map(({ name }) => name));
  const alike = [...new Set(names)].filter(
    (name) => name.startsWith(functionName) || functionName.startsWith(`${name}.`),
  );
  return new KmendError({
    code: "NO_FUNCTION",
    message: `neither ${original} nor ${patched} has a function ${functionName}`,
    hint: alike.length > 0 ? `there is ${alike.slice(0, 5).join(", ")}` : "nm shows the functions of an object",
    exitCode: ExitCode.usage,
  });
}

import { type Atom, type Reference, seenThrough } from "./atoms.ts";
import type { UnitObject } from "./unit-object.ts";

/** What code does with a variable. */
type Use = ReadonlySet<string>;

/** Bytes of code before and behind a place that count: opcode and operand, and the instructions around. */
const windows = [3, 10] as const;
/** How many more features have to speak for a pair than for any other that one of the two could be in. */
const margin = 2;

/**
 * Pairs variables of one name by what code does with them: the instructions at their uses, and what is referred to around these. Only clear answers
 * are given; what could be in two pairs is in none, and nothing is when one came or went.
 * @param settled pairs that are known by other evidence.
 */
export function pairByUse(
  originals: readonly Atom[],
  patcheds: readonly Atom[],
  original: UnitObject,
  patched: UnitObject,
  settled: ReadonlyMap<Atom, Atom> = new Map(),
): [Atom, Atom][] {
  // One that came or went may be any of them.
  if (originals.length !== patcheds.length) return [];
  const uses = originals.map((atom) => useOf(atom, original));
  const others = patcheds.map((atom) => useOf(atom, patched));
  const taken = new Set([...settled].flat());
  const isOpen = (row: number, column: number): boolean =>
    !taken.has(originals[row] as Atom) && !taken.has(patcheds[column] as Atom);
  const votes = uses.map((use, row) =>
    others.map((other, column) => (isOpen(row, column) ? votesFor(use, other, uses, others) : 0)),
  );
  const rivalsOf = (table: readonly (readonly number[])[], row: number, column: number): number[] =>
    table.flatMap((line, at) => (at === row ? line.filter((_, other) => other !== column) : [line[column] as number]));
  // What stands beside a use by name may contradict its code: then the change may have exchanged the two.
  const named = uses.map((use, row) =>
    others.map((other, column) => (isOpen(row, column) ? votesFor(namedOf(use), namedOf(other), uses, others) : 0)),
  );
  const lead = (row: number, column: number): number => {
    if (Math.max(0, ...rivalsOf(named, row, column)) > 0) return 0;
    return (votes[row]?.[column] ?? 0) - Math.max(0, ...rivalsOf(votes, row, column));
  };
  const pairs: [Atom, Atom][] = [];
  originals.forEach((a, row) => {
    const column = patcheds.findIndex((_, at) => lead(row, at) >= margin);
    const b = patcheds[column];
    if (b !== undefined) pairs.push([a, b]);
  });
  // For the last one less will do: the others are not it.
  if (settled.size > 0) return pairs;
  const rows = originals.flatMap((a, row) => (pairs.some(([known]) => known === a) ? [] : [row]));
  const columns = patcheds.flatMap((b, column) => (pairs.some(([, known]) => known === b) ? [] : [column]));
  const [row, column] = [rows[0], columns[0]];
  if (rows.length === 1 && row !== undefined && column !== undefined && lead(row, column) > 0)
    pairs.push([originals[row] as Atom, patcheds[column] as Atom]);
  return pairs;
}

/** Features of both that no other variable has. */
function votesFor(a: Use, b: Use, originals: readonly Use[], patcheds: readonly Use[]): number {
  const isOnly = (feature: string, among: readonly Use[]): boolean =>
    among.filter((use) => use.has(feature)).length === 1;
  return [...a].filter((feature) => b.has(feature) && isOnly(feature, originals) && isOnly(feature, patcheds)).length;
}

/** Features by name: what else is referred to beside a use. */
function namedOf(use: Use): Use {
  return new Set([...use].filter((feature) => /^(-1|1) /.test(feature)));
}

function useOf(variable: Atom, unit: UnitObject): Use {
  const features = new Set<string>();
  for (const user of unit.atoms) {
    if (user.kind !== "function") continue;
    user.references.forEach((reference, at) => {
      const used = seenThrough(reference.target);
      if (used.kind !== "atom" || used.atom !== variable) return;
      for (const window of windows) {
        features.add(`before ${codeAround(user, reference, at, -window, 0)}`);
        features.add(`behind ${codeAround(user, reference, at, 0, window)}`);
      }
      for (const step of [-1, 1] as const) {
        const target = neighbour(user, at, step, variable);
        if (target !== undefined) features.add(`${step} ${target}`);
      }
    });
  }
  return features;
}

function codeAround(
  { bytes, references }: Atom,
  { offset, target }: Reference,
  at: number,
  from: number,
  to: number,
): string {
  const near = references.slice(Math.max(0, at - 4), at + 5);
  let text = `${target.addend} `;
  for (let place = offset + from + (from < 0 ? 0 : 4); place < offset + to + (from < 0 ? 0 : 4); place++) {
    if (place < 0 || place >= bytes.length) continue;
    const isFilled = near.some((other) => place >= other.offset && place < other.offset + 4);
    text += isFilled ? ".." : (bytes[place] as number).toString(16).padStart(2, "0");
  }
  return text;
}

/**
 * The next thing that the function refers to in one direction, things of the variable's name left out. A call before a place is of what comes before, and
 * no feature of it.
 */
function neighbour({ references }: Atom, at: number, step: 1 | -1, { base }: Atom): string | undefined {
  for (let next = at + step; next >= 0 && next < references.length; next += step) {
    const target = seenThrough((references[next] as Reference).target);
    if (target.kind === "atom" && target.atom.base === base) continue;
    if (target.kind === "absolute") return undefined;
    if (target.kind === "external") return step > 0 ? target.name : undefined;
    if (target.kind === "entry") return target.entry.table;
    const { kind, bytes, base: other } = target.atom;
    if (kind === "function" && step < 0) return undefined;
    return kind === "string" ? Buffer.from(bytes).toString("latin1") : `${other}+${target.addend}`;
  }
  return undefined;
}

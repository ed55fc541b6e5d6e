import type { Architecture } from "../diff/arch/arch.ts";
import type { Atom, Reference } from "../diff/atoms.ts";
import type { PlaceValue, TargetObject } from "./target-object.ts";

/**
 * Compares a function with the target instruction by instruction, where the two builds may encode a direct branch in a different length.
 * Example: gcc puts `jmp other` at the end of a function; in one section with `other` the assembler writes `eb xx`, in a section of its own
 * `e9 …` with a relocation; everything behind it moves, and padding changes.
 * @param check tells whether a reference may have that value in the target.
 */
export async function compareLockstep(
  atom: Atom,
  address: number,
  room: number,
  target: TargetObject,
  arch: Architecture,
  check: (reference: Reference, value: PlaceValue) => boolean,
): Promise<boolean> {
  const entry = atom.symbol === undefined ? 0 : atom.symbol.value - atom.start;
  const start = address - entry;
  const theirs = target.bytesAt(start, entry + room);
  if (theirs === undefined) return false;
  await arch.loadDisassembler();
  const left = arch.instructions(atom.bytes);
  const right = arch.instructions(theirs);
  if (left === undefined || right === undefined) return false;
  const referenceAt = new Map(atom.references.map((reference) => [reference.offset, reference]));
  const moved = new Map<number, number>();
  const jumps: { from: number; to: number }[] = [];
  let i = 0;
  let j = 0;
  for (;;) {
    while (left[i]?.isPadding === true) i++;
    while (right[j]?.isPadding === true) j++;
    const a = left[i];
    const b = right[j];
    if (a === undefined) break;
    if (b === undefined) return false;
    moved.set(a.offset, b.offset);
    if (a.branch !== undefined && b.branch !== undefined) {
      if (a.branch.kind !== b.branch.kind) return false;
      const reference = referenceAt.get(a.offset + a.length - a.branch.width);
      if (reference === undefined) jumps.push({ from: a.branch.target, to: b.branch.target });
      else {
        const place = start + b.offset + b.length - b.branch.width;
        const value = target.valueAt(place, b.branch.width, true);
        // Both addends count from the end of the distance field: −4 for a long branch, −1 for a short one.
        const adjusted =
          value?.kind === "address" ? { ...value, address: value.address + b.branch.width - a.branch.width } : value;
        if (adjusted === undefined || !check(reference, adjusted)) return false;
      }
    } else {
      if (a.branch !== undefined || b.branch !== undefined || a.length !== b.length) return false;
      if (!sameInstruction(atom, a.offset, theirs, b.offset, a.length, start, target, arch, referenceAt, check))
        return false;
    }
    i++;
    j++;
  }
  while (right[j]?.isPadding === true) j++;
  if (right[j] !== undefined) return false;
  return jumps.every(({ from, to }) => (moved.get(from) ?? (from >= atom.bytes.length ? to : undefined)) === to);
}

function sameInstruction(
  atom: Atom,
  ours: number,
  theirBytes: Uint8Array,
  theirs: number,
  length: number,
  start: number,
  target: TargetObject,
  arch: Architecture,
  referenceAt: ReadonlyMap<number, Reference>,
  check: (reference: Reference, value: PlaceValue) => boolean,
): boolean {
  for (let at = 0; at < length; ) {
    const reference = referenceAt.get(ours + at);
    const width = reference === undefined ? 0 : (arch.relocationWidth(reference.type) ?? 0);
    if (reference !== undefined && width > 0) {
      const value = target.valueAt(start + theirs + at, width, arch.isPcRelative(reference.type));
      if (value === undefined || !check(reference, value)) return false;
      at += width;
    } else {
      if (atom.bytes[ours + at] !== theirBytes[theirs + at]) return false;
      at++;
    }
  }
  return true;
}

import type { Architecture, DecodedInstruction } from "../diff/arch/arch.ts";
import type { Atom, Reference } from "../diff/atoms.ts";
import type { AtomComparer } from "./atom-comparer.ts";
import { entryOffset } from "./entry-offset.ts";
import type { Findings, Mismatch, MovedFunction } from "./findings.ts";
import type { TargetObject } from "./target-object.ts";

/**
 * Compares a function with the target instruction by instruction, where the two builds may encode a direct branch in a different length.
 * Example: gcc puts `jmp other` at the end of a function; in one section with `other` the assembler writes `eb xx`, in a section of its own
 * `e9 …` with a relocation; everything behind it moves, and padding changes. Nothing but padding may be left out: a nop that a table names is an
 * instruction, and so is one that stands where no assembler pads.
 * @returns what differs, in as far as it is found here; undefined when all is equal.
 */
export async function compareLockstep(
  atom: Atom,
  address: number,
  room: number,
  target: TargetObject,
  arch: Architecture,
  comparer: AtomComparer,
  findings: Findings,
): Promise<Mismatch | undefined> {
  const entry = entryOffset(atom);
  const start = address - entry;
  const bytes = target.bytesAt(start, entry + room);
  if (bytes === undefined) return { offset: 0, text: `${target.name} holds no code there` };
  await arch.loadDisassembler();
  const [here, there] = [arch.instructions(atom.bytes), arch.instructions(bytes)];
  if (here === undefined || there === undefined) return { offset: 0, text: "no disassembler knows this code" };
  const named = comparer.namedOffsets(atom, start, bytes.length);
  const left = withoutPadding(here, 0, named.ours);
  const right = withoutPadding(there, start, named.theirs);
  const moved: MovedFunction = { atom, start, pending: [] };
  findings.moved = moved;
  const step: Step = { atom, bytes, start, target, arch, comparer, findings };
  const offsets = new Map<number, number>();
  for (let at = 0; at < left.instructions.length; at++) {
    const [a, b] = [left.instructions[at] as DecodedInstruction, right.instructions[at]];
    if (b === undefined || !sameInstruction(a, b, step))
      return { offset: a.offset, text: "another instruction follows" };
    offsets.set(a.offset, b.offset);
    // A reference may lead to a byte of an instruction, such as the place of a relocation.
    if (a.length === b.length)
      for (let byte = 1; byte < a.length; byte++) offsets.set(a.offset + byte, b.offset + byte);
  }
  const more = right.instructions[left.instructions.length];
  if (more !== undefined) return { offset: atom.bytes.length, text: "goes on in the target" };
  const theirs = (offset: number): number | undefined => offsets.get(left.behindPadding.get(offset) ?? offset);
  const behind = {
    ours: (offset: number) => left.behindPadding.get(offset) ?? offset,
    theirs: (offset: number) => right.behindPadding.get(offset) ?? offset,
  };
  moved.isPlace = (from, to) => theirs(from) !== undefined && theirs(from) === behind.theirs(to);
  const mismatch = comparer.compareMoved(atom, address, bytes.length, theirs, findings, behind);
  if (mismatch !== undefined) return mismatch;
  const { isPlace } = moved;
  const wrong = moved.pending.find(({ from, to }) => !isPlace(from, to));
  return wrong === undefined ? undefined : { offset: wrong.from, text: "a branch leads elsewhere" };
}

/** Instructions without alignment padding, and by offset of left out padding the instruction behind it. */
interface Stripped {
  readonly instructions: readonly DecodedInstruction[];
  readonly behindPadding: ReadonlyMap<number, number>;
}

/** What assemblers align code to. */
const alignments: readonly number[] = [64, 32, 16, 8];

/**
 * Leaves out padding as assemblers make it: nops before an aligned target of a branch, and nops and traps up to the end of the function. `start` is where
 * the code stands: functions are aligned, sections more so.
 */
function withoutPadding(all: readonly DecodedInstruction[], start: number, named: ReadonlySet<number>): Stripped {
  const targets = new Set(all.flatMap(({ branch }) => (branch === undefined ? [] : [branch.target])));
  const instructions: DecodedInstruction[] = [];
  const behindPadding = new Map<number, number>();
  for (let at = 0; at < all.length; ) {
    let end = at;
    while (end < all.length && isSkippable(all[end] as DecodedInstruction, named)) end++;
    const next = all[end];
    const isPadding =
      end > at &&
      (next === undefined ||
        (alignments.some((alignment) => modulo(start + next.offset, alignment) === 0) &&
          targets.has(next.offset) &&
          all.slice(at, end).every(({ isNop }) => isNop || all[at - 1]?.isEnd === true)));
    if (isPadding) {
      if (next !== undefined) for (const { offset } of all.slice(at, end)) behindPadding.set(offset, next.offset);
      at = end;
    } else {
      instructions.push(...all.slice(at, Math.max(end, at + 1)));
      at = Math.max(end, at + 1);
    }
  }
  return { instructions, behindPadding };
}

function isSkippable({ offset, length, isNop, isTrap }: DecodedInstruction, named: ReadonlySet<number>): boolean {
  if (!isNop && !isTrap) return false;
  for (let byte = 0; byte < length; byte++) if (named.has(offset + byte)) return false;
  return true;
}

function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}

interface Step {
  readonly atom: Atom;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly target: TargetObject;
  readonly arch: Architecture;
  readonly comparer: AtomComparer;
  readonly findings: Findings;
}

function sameInstruction(a: DecodedInstruction, b: DecodedInstruction, step: Step): boolean {
  if (a.branch === undefined || b.branch === undefined) {
    return a.branch === b.branch && a.length === b.length && sameBytes(a, b, step);
  }
  if (a.branch.kind !== b.branch.kind) return false;
  const { atom, start, target, comparer, findings } = step;
  const reference = referenceAt(atom, a.offset + a.length - a.branch.width);
  const place = start + b.offset + b.length - b.branch.width;
  if (reference === undefined) {
    findings.moved?.pending.push({ from: a.branch.target, to: b.branch.target });
    // Where the target has a relocation, the distance that its bytes show is not the one that counts.
    return (target.placesIn?.(place, b.branch.width) ?? []).length === 0;
  }
  const value = target.valueAt(place, b.branch.width, true);
  if (value === undefined) return false;
  findings.record?.place(atom, reference, value, b.branch.width);
  // Addends count from the end of the distance field: −4 for a long branch, −1 for a short one.
  const adjusted =
    value.kind === "address" ? { ...value, address: value.address + b.branch.width - a.branch.width } : value;
  return comparer.checkTarget(reference, adjusted, comparer.tailOf(atom, reference), findings) === undefined;
}

function sameBytes(a: DecodedInstruction, b: DecodedInstruction, step: Step): boolean {
  const { atom, bytes, start, target, arch, comparer, findings } = step;
  for (let at = 0; at < a.length; ) {
    const reference = referenceAt(atom, a.offset + at);
    const width = reference === undefined ? 0 : (arch.relocationWidth(reference.type) ?? 0);
    if (reference !== undefined && width > 0) {
      const value = target.valueAt(start + b.offset + at, width, arch.isPcRelative(reference.type));
      const tail = comparer.tailOf(atom, reference);
      if (value === undefined || comparer.checkTarget(reference, value, tail, findings) !== undefined) return false;
      findings.record?.place(atom, reference, value, width);
      at += width;
    } else {
      if (atom.bytes[a.offset + at] !== bytes[b.offset + at]) return false;
      at++;
    }
  }
  return true;
}

const indices = new WeakMap<Atom, Map<number, Reference>>();

function referenceAt(atom: Atom, offset: number): Reference | undefined {
  let index = indices.get(atom);
  if (index === undefined) {
    index = new Map(atom.references.map((reference) => [reference.offset, reference]));
    indices.set(atom, index);
  }
  return index.get(offset);
}

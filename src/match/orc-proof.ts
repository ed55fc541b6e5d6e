import type { Atom } from "../diff/atoms.ts";
import { orcRule } from "../diff/special-sections/special-sections.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import type { Mismatch } from "./findings.ts";
import type { TargetEntry, TargetObject } from "./target-object.ts";

/** How far before a function the entry that holds at its first byte is looked for, the nearest first; objtool writes one where the state changes. */
const lookBehind: readonly number[] = [1 << 6, 1 << 10, 1 << 16];

/** From an offset on, what the unwinder finds. */
interface State {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Where code goes on behind padding that runs never: the offset itself for all else. */
export interface BehindPadding {
  readonly ours: (offset: number) => number;
  readonly theirs: (offset: number) => number;
}

const noPadding: BehindPadding = { ours: (offset) => offset, theirs: (offset) => offset };

/**
 * Holds the unwinding data of a function against the target's. An entry holds up to the next one, and one that repeats the state before it may be left
 * out, so the states are compared and not the entries. Reliable stack traces, and with them the transition to the new code, rest on them.
 */
export class OrcProof {
  readonly #target: TargetObject;
  readonly #states = new Map<Atom, State[]>();

  constructor(unit: UnitObject, target: TargetObject) {
    this.#target = target;
    for (const { place, partner } of unit.tables.get(orcRule.table)?.entries ?? []) {
      if (place === undefined || partner === undefined) continue;
      const list = this.#states.get(place.atom);
      const state = { offset: place.offset, bytes: partner };
      if (list === undefined) this.#states.set(place.atom, [state]);
      else list.push(state);
    }
    for (const list of this.#states.values()) list.sort((a, b) => a.offset - b.offset);
  }

  /**
   * @param start address of the atom's first byte.
   * @param length bytes that it has in the target.
   * @param theirs by offset in the atom, that there.
   * @param behind for a function whose padding differs: objtool gives padding behind a jump, which no path reaches, a state of its own, and what counts is the
   *   state of the instruction that follows.
   */
  compare(
    atom: Atom,
    start: number,
    length: number,
    theirs: (offset: number) => number | undefined,
    behind = noPadding,
  ): Mismatch | undefined {
    const here = this.#states.get(atom);
    const there = this.#statesThere(start, length);
    if (here === undefined || there === undefined || there.length === 0) return undefined;
    const size = atom.end - atom.start;
    for (const entry of here) {
      const offset = behind.ours(entry.offset);
      const place = offset < size ? theirs(offset) : undefined;
      if (place === undefined || place >= length) continue;
      const problem = difference(stateAt(here, offset), stateAt(there, place));
      if (problem !== undefined) return { offset, text: problem };
    }
    // What only the target has leads to another state in the middle of one of ours.
    for (const entry of there) {
      const place = behind.theirs(entry.offset);
      const found = theirs(place) === place ? place : offsetOf(place, size, theirs);
      if (found === undefined || found >= size) continue;
      const offset = behind.ours(found);
      const problem = difference(stateAt(here, offset), stateAt(there, place));
      if (problem !== undefined) return { offset, text: problem };
    }
    return undefined;
  }

  /** How many entries the original has for an atom. */
  entriesOf(atom: Atom): number {
    return this.#states.get(atom)?.length ?? 0;
  }

  #statesThere(start: number, length: number): State[] | undefined {
    const inside = this.#target.tableEntries?.(orcRule, undefined, start, start + length);
    if (inside === undefined) return undefined;
    let before: TargetEntry | undefined;
    for (const distance of inside[0]?.place === start ? [] : lookBehind)
      before ??= this.#target.tableEntries?.(orcRule, undefined, start - distance, start)?.at(-1);
    return [...(before === undefined ? [] : [before]), ...inside].flatMap(({ place, partner }) => {
      const bytes = partner === undefined ? undefined : this.#target.bytesAt(partner.at, partner.size);
      return bytes === undefined ? [] : [{ offset: place - start, bytes }];
    });
  }
}

/** The offset in the original of a place in the target's function. */
function offsetOf(place: number, size: number, theirs: (offset: number) => number | undefined): number | undefined {
  for (let offset = 0; offset < size; offset++) if (theirs(offset) === place) return offset;
  return undefined;
}

function stateAt(states: readonly State[], offset: number): Uint8Array | undefined {
  return states.findLast((state) => state.offset <= offset)?.bytes;
}

function difference(ours: Uint8Array | undefined, theirs: Uint8Array | undefined): string | undefined {
  if (ours === undefined || theirs === undefined || Buffer.compare(ours, theirs) === 0) return undefined;
  return `its stack is unwound otherwise in the target (${Buffer.from(theirs).toString("hex")} instead of ${Buffer.from(ours).toString("hex")})`;
}

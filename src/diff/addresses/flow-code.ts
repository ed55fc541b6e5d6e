import type { Effect } from "../arch/effects.ts";
import type { Atom, Reference } from "../atoms.ts";
import { coldParent } from "../names.ts";
import type { UnitObject } from "../unit-object.ts";
import type { State } from "./flow-state.ts";

/** The instructions of a function, and the states that may be before each. */
export interface Code {
  readonly atom: Atom;
  readonly effects: readonly Effect[];
  readonly indexAt: ReadonlyMap<number, number>;
  /** References by instruction. */
  readonly references: readonly (readonly Reference[])[];
  readonly states: (State | undefined)[];
  /** Where entries of special tables lead from an instruction: static branches, fixups. */
  readonly sideways: ReadonlyMap<number, readonly Place[]>;
  /** Labels that tables of addresses hold, for jumps through a register. */
  readonly labels: readonly Place[];
  /** Lowest places of the stack whose address is taken. */
  readonly stackObjects: readonly number[];
}

export interface Place {
  readonly atom: Atom;
  readonly offset: number;
}

/** arch/x86/lib/retpoline.S: calls and jumps through a register, and returns, by way of the kernel's own code. */
export const indirectThunk = /^__x86_indirect_(call_|jump_)?thunk_/;
export const returnThunk = /^__x86_return_thunk$/;

/** True for a place in the table of operations of the paravirtualised kernel (arch/x86/include/asm/paravirt.h). */
export function isParavirt({ target }: Reference): boolean {
  return target.kind === "external" && target.name === "pv_ops";
}

/** Offset in a function of its symbol: padding may come before it. */
export function entryOf(atom: Atom): number {
  return atom.symbol === undefined ? 0 : atom.symbol.value - atom.start;
}

/** True for the start of another function; a jump into the middle stays within one that the compiler has split. */
export function isEntry({ atom, offset }: Place, from: Atom): boolean {
  return atom !== from && coldParent(atom.name) === undefined && coldParent(from.name) !== atom.name
    ? offset === entryOf(atom)
    : false;
}

/** Decodes a function, and notes where its references are and where control may come from besides jumps. */
export function readCode(
  atom: Atom,
  sideways: ReadonlyMap<number, readonly Place[]>,
  decode: (code: Uint8Array) => readonly Effect[],
): Code {
  const effects = decode(atom.bytes);
  const indexAt = new Map(effects.map(({ offset }, index) => [offset, index]));
  const references: Reference[][] = effects.map(() => []);
  let at = 0;
  for (const reference of atom.references) {
    while (at + 1 < effects.length && (effects[at + 1] as Effect).offset <= reference.offset) at++;
    references[at]?.push(reference);
  }
  const labels = new Map<string, Place>();
  for (const { target } of atom.references) {
    if (target.kind !== "atom" || target.atom.kind === "function") continue;
    for (const { target: label } of target.atom.references) {
      if (label.kind === "atom" && label.atom === atom) labels.set(`${label.addend}`, { atom, offset: label.addend });
    }
  }
  const stackObjects = effects.flatMap(({ memory, stackSlot }) =>
    memory === "address" && stackSlot !== undefined ? [stackSlot] : [],
  );
  return {
    atom,
    effects,
    indexAt,
    references,
    states: [],
    sideways,
    labels: [...labels.values()],
    stackObjects,
  };
}

/** Places in code that entries of special tables name beside the one that they are about, by function and offset of that. */
export function sidewaysOf(unit: UnitObject): Map<Atom, Map<number, Place[]>> {
  const found = new Map<Atom, Map<number, Place[]>>();
  for (const { entries } of unit.tables.values()) {
    for (const { place, references } of entries) {
      if (place === undefined || references.length < 2) continue;
      for (const { target } of references) {
        if (target.kind !== "atom" || target.atom.kind !== "function") continue;
        if (target.atom === place.atom && target.addend === place.offset) continue;
        const places = found.get(place.atom) ?? new Map<number, Place[]>();
        found.set(place.atom, places);
        const list = places.get(place.offset) ?? [];
        places.set(place.offset, [...list, { atom: target.atom, offset: target.addend }]);
      }
    }
  }
  return found;
}

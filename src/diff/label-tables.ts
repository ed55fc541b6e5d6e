import type { Atom, Reference } from "./atoms.ts";
import { ColdParts } from "./source-files.ts";
import { classOf } from "./special-sections/section-classes.ts";
import type { UnitObject } from "./unit-object.ts";

/**
 * Tables of places inside of functions that are replaced, such as the `static const void *jumptable[] = { &&first, &&second }` of a computed goto, and
 * what leads to such a table. They belong to the code whose labels they hold: new code that went on with the kernel's table would jump into the old
 * code.
 * @param isReplaced for a function of the unit.
 */
export function labelTablesOf(unit: UnitObject, isReplaced: (atom: Atom) => boolean): ReadonlySet<Atom> {
  const coldParts = new ColdParts(unit);
  const holdsLabel = ({ target }: Reference): boolean => {
    if (target.kind !== "atom" || target.atom.kind !== "function") return false;
    const owner = coldParts.ownerOf(target.atom);
    // Nothing calls a cold part: whatever points at it means a place in its function.
    if (owner !== undefined) return isReplaced(owner) || isReplaced(target.atom);
    return isReplaced(target.atom) && isInside(target.atom, target.addend);
  };
  const data = unit.atoms.filter(
    ({ kind, section, references }) =>
      (kind === "rodata" || kind === "data") && references.length > 0 && classOf(section) === "content",
  );
  const tables = new Set(data.filter(({ references }) => references.some(holdsLabel)));
  for (let before = -1; before !== tables.size; ) {
    before = tables.size;
    if (before === 0) break;
    for (const atom of data)
      if (atom.references.some(({ target }) => target.kind === "atom" && tables.has(target.atom))) tables.add(atom);
  }
  return tables;
}

/** True for a place that is not the entry of a function. @param addend from the start of the atom. */
function isInside({ symbol, start }: Atom, addend: number): boolean {
  return addend !== (symbol === undefined ? 0 : symbol.value - start);
}

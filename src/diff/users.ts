import type { Atom, Reference } from "./atoms.ts";
import type { UnitObject } from "./unit-object.ts";

/** What refers to each atom, itself apart. */
export function collectUsers(unit: UnitObject): Map<Atom, { user: Atom; reference: Reference }[]> {
  const users = new Map<Atom, { user: Atom; reference: Reference }[]>();
  for (const user of unit.atoms) {
    for (const reference of user.references) {
      if (reference.target.kind !== "atom" || reference.target.atom === user) continue;
      const list = users.get(reference.target.atom);
      if (list === undefined) users.set(reference.target.atom, [{ user, reference }]);
      else list.push({ user, reference });
    }
  }
  return users;
}

/** Atoms that a table entry points at beyond the place that it is about, such as an exception handler. */
export function collectTableTargets(unit: UnitObject): Map<Atom, string> {
  const targets = new Map<Atom, string>();
  for (const [name, table] of unit.tables) {
    for (const { references, place } of table.entries) {
      for (const { target } of references.slice(1)) {
        if (target.kind === "atom" && target.atom !== place?.atom && target.atom.kind === "function")
          targets.set(target.atom, name);
      }
    }
  }
  return targets;
}

import { type Atom, isPoolEntry, type Reference, seenThrough } from "./atoms.ts";
import type { UnitObject } from "./unit-object.ts";

/** What refers to each atom, itself apart; an entry of a pool of addresses is no user, but what reads it is. */
export function collectUsers(unit: UnitObject): Map<Atom, { user: Atom; reference: Reference }[]> {
  const users = new Map<Atom, { user: Atom; reference: Reference }[]>();
  const add = (atom: Atom, user: Atom, reference: Reference): void => {
    if (atom === user) return;
    const list = users.get(atom);
    if (list === undefined) users.set(atom, [{ user, reference }]);
    else list.push({ user, reference });
  };
  for (const user of unit.atoms) {
    if (isPoolEntry(user)) continue;
    for (const reference of user.references) {
      if (reference.target.kind !== "atom") continue;
      const target = seenThrough(reference.target);
      if (target !== reference.target) add(reference.target.atom, user, reference);
      if (target.kind === "atom") add(target.atom, user, reference);
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

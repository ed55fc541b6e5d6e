import { isFunction } from "../atoms.ts";
import { classOf } from "../special-sections/section-classes.ts";
import { readUnitObject, type UnitObject } from "../unit-object.ts";

/**
 * Names of the functions that code outside of a unit can call: global ones, and those whose address the unit takes.
 * @param object content of the compiled unit.
 */
export async function sharedFunctions(object: Uint8Array): Promise<ReadonlySet<string>> {
  const unit = await readUnitObject(object);
  const shared = addressesTaken(unit);
  for (const atom of unit.atoms)
    for (const symbol of isFunction(atom) ? atom.symbols : []) if (symbol.binding !== 0) shared.add(symbol.name);
  return shared;
}

/** Names of the unit's functions, and of what other units define, whose address it has for something else than a call. */
export function addressesTaken({ atoms, arch }: UnitObject): Set<string> {
  const taken = new Set<string>();
  for (const atom of atoms) {
    const section = classOf(atom.section);
    if (section !== "content" && section !== "registry") continue;
    for (const reference of atom.references) {
      const { target } = reference;
      const isOwn = target.kind === "atom" && isFunction(target.atom) && target.atom !== atom;
      if (!isOwn && target.kind !== "external") continue;
      if (isFunction(atom) && (reference.implicit || arch.isBranch(atom, reference))) continue;
      if (target.kind === "external") taken.add(target.name);
      else if (isOwn) for (const { name } of target.atom.symbols) taken.add(name);
    }
  }
  return taken;
}

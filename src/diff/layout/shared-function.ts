import { isFunction } from "../atoms.ts";
import { classOf } from "../section-classes.ts";
import { readUnitObject } from "../unit-object.ts";

/**
 * Names of the functions that code outside of a unit can call: global ones, and those whose address the unit takes.
 * @param object content of the compiled unit.
 */
export async function sharedFunctions(object: Uint8Array): Promise<ReadonlySet<string>> {
  const unit = await readUnitObject(object);
  const shared = new Set<string>();
  for (const atom of unit.atoms) {
    for (const symbol of isFunction(atom) ? atom.symbols : []) if (symbol.binding !== 0) shared.add(symbol.name);
    const section = classOf(atom.section);
    if (section !== "content" && section !== "registry") continue;
    for (const reference of atom.references) {
      const { target } = reference;
      if (target.kind !== "atom" || !isFunction(target.atom) || target.atom === atom) continue;
      const isCall = isFunction(atom) && (reference.implicit || unit.arch.isBranch(atom, reference));
      if (!isCall) for (const { name } of target.atom.symbols) shared.add(name);
    }
  }
  return shared;
}

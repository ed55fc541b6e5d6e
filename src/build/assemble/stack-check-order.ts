import type { Atom } from "../../diff/atoms.ts";
import { coldParent } from "../../diff/names.ts";
import type { Selection } from "../../diff/select.ts";
import type { UnitObject } from "../../diff/unit-object.ts";

/** How a unit's atoms lie in the patch module. */
export interface CodeOrder {
  readonly atoms: readonly Atom[];
  /** Functions that get no symbol of their own: they lie behind a redirected one and belong to it for the kernel. */
  readonly nameless: ReadonlySet<Atom>;
}

/**
 * Puts code that a task can be in while no redirected function is on its stack right behind a redirected one, without a name: cold parts, and functions
 * that others end with a jump to. Before a patch is taken back the kernel looks whether a stack holds an address in `new_func` up to `new_size`
 * (klp_check_stack_func(), kernel/livepatch/transition.c), and takes for the size of a module's function the distance to the next symbol with a name
 * (find_kallsyms_symbol(), kernel/module/kallsyms.c): so these count as well, and none of them is unloaded under a sleeping task.
 */
export function stackCheckOrder(unit: UnitObject, selection: Selection, redirected: ReadonlySet<Atom>): CodeOrder {
  const first = selection.atoms.find((atom) => redirected.has(atom));
  if (first === undefined) return { atoms: selection.atoms, nameless: new Set() };
  const jumpedTo = new Set<Atom>();
  for (const user of selection.atoms) {
    for (const reference of user.references) {
      if (!unit.arch.isBranch(user, reference) || unit.arch.isCall?.(user, reference) === true) continue;
      const route = selection.route(user, reference);
      if (route.to === "inside" && route.atom !== user) jumpedTo.add(route.atom);
    }
  }
  const behind = new Map<Atom, Atom[]>();
  const nameless = new Set<Atom>();
  for (const atom of selection.atoms) {
    if (atom.kind !== "function" || redirected.has(atom)) continue;
    // Other units and exports need the name, and calls the local entry that a symbol tells.
    if (atom.symbols.some(({ binding, other }) => binding !== 0 || unit.arch.localEntry(other) !== 0)) continue;
    const parent = coldParent(atom.name);
    if (parent === undefined && !jumpedTo.has(atom)) continue;
    const owner = selection.atoms.find((other) => redirected.has(other) && other.name === parent) ?? first;
    behind.set(owner, [...(behind.get(owner) ?? []), atom]);
    nameless.add(atom);
  }
  const atoms = selection.atoms
    .filter((atom) => !nameless.has(atom))
    .flatMap((atom) => [atom, ...(behind.get(atom) ?? [])]);
  return { atoms, nameless };
}

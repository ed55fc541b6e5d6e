import type { Atom } from "../../diff/atoms.ts";
import { coldParent } from "../../diff/names.ts";
import type { Route, Selection } from "../../diff/select.ts";
import type { UnitObject } from "../../diff/unit-object.ts";
import { Binding } from "../../elf/constants.ts";

/** How a unit's atoms lie in the patch module. */
export interface CodeOrder {
  readonly atoms: readonly Atom[];
  /** Functions that have no name in the finished module: they lie behind a redirected one and belong to it for the kernel. */
  readonly nameless: ReadonlySet<Atom>;
}

/**
 * Puts code that a task can be in while no redirected function is on its stack right behind a redirected one, without a name: cold parts, and functions
 * that others end with a jump to. Before a patch is taken back the kernel looks whether a stack holds an address in `new_func` up to `new_size`
 * (klp_check_stack_func(), kernel/livepatch/transition.c), and takes for the size of a module's function the distance to the next symbol with a name
 * (find_kallsyms_symbol(), kernel/module/kallsyms.c): so these count as well, and none of them is unloaded under a sleeping task.
 * The last of a unit's functions is a redirected one with what belongs to it, so that it reaches into a unit behind it that redirects nothing.
 * @param jumps those of all units of the module.
 */
export function stackCheckOrder(
  unit: UnitObject,
  selection: Selection,
  redirected: ReadonlySet<Atom>,
  jumps: ModuleJumps = jumpsOf([{ plan: { patched: unit }, selection }]),
): CodeOrder {
  const jumpedTo = new Set<Atom>();
  for (const { user, route } of goesTo(unit, selection, jumps.indirect))
    if (route.to === "inside" && route.atom !== user) jumpedTo.add(route.atom);
  for (const atom of selection.atoms)
    if (atom.symbols.some(({ name, binding }) => binding !== Binding.local && jumps.names.has(name)))
      jumpedTo.add(atom);
  const functions = selection.atoms.filter(({ kind }) => kind === "function");
  // Calls need the local entry that a symbol tells.
  const canHide = (atom: Atom): boolean => atom.symbols.every(({ other }) => unit.arch.localEntry(other) === 0);
  const [first] = functions.filter((atom) => redirected.has(atom));
  // The unit is linked behind one with a redirected function at its end, see inLinkOrder().
  if (first === undefined)
    return { atoms: selection.atoms, nameless: new Set(jumpedTo.size === 0 ? [] : functions.filter(canHide)) };
  const behind = new Map<Atom, Atom[]>();
  const nameless = new Set<Atom>();
  for (const atom of functions) {
    if (redirected.has(atom) || !canHide(atom)) continue;
    const parent = coldParent(atom.name);
    if (parent === undefined && !jumpedTo.has(atom)) continue;
    const owner = functions.find((other) => redirected.has(other) && other.name === parent) ?? first;
    behind.set(owner, [...(behind.get(owner) ?? []), atom]);
    nameless.add(atom);
  }
  const last = functions.findLast((atom) => redirected.has(atom)) as Atom;
  const others = selection.atoms.filter((atom) => atom !== last && !nameless.has(atom));
  return { atoms: [...others, last].flatMap((atom) => [atom, ...(behind.get(atom) ?? [])]), nameless };
}

interface LinkedUnit {
  readonly redirections: readonly unknown[];
  readonly plan: { readonly pair: { readonly object: string } };
}

/** Units of each patched object together, and of these the ones that redirect nothing last, as those from new source files are. */
export function inLinkOrder<Unit extends LinkedUnit>(units: readonly Unit[]): Unit[] {
  const objects = [...new Set(units.map(({ plan }) => plan.pair.object))];
  return objects.flatMap((object) => {
    const own = units.filter(({ plan }) => plan.pair.object === object);
    const redirects = ({ redirections }: Unit): boolean => redirections.length > 0;
    return [...own.filter(redirects), ...own.filter((unit) => !redirects(unit))];
  });
}

/** What the carried code of a module goes to without leaving a return address of its own. */
export interface ModuleJumps {
  /** Names of what is outside of the unit that jumps. */
  readonly names: ReadonlySet<string>;
  /** Some code jumps to where a register tells, which may be each function whose address is taken. */
  readonly indirect: boolean;
}

/** With retpolines an indirect jump goes to one of these (arch/x86/lib/retpoline.S). */
const indirectJump = /^__x86_indirect_(jump_)?thunk_/;

/** @param canGo false for a module that stays in memory: what is called for ever there, as a thread's main loop, must not keep the patch from being disabled. */
export function jumpsOf(
  units: readonly { readonly plan: { readonly patched: UnitObject }; readonly selection: Selection }[],
  canGo = true,
): ModuleJumps {
  const namesOf = (indirect: boolean): string[] =>
    units.flatMap(({ plan, selection }) =>
      goesTo(plan.patched, selection, indirect).flatMap(({ route }) => (route.to === "external" ? [route.name] : [])),
    );
  const direct = namesOf(false);
  const indirect = canGo && direct.some((name) => indirectJump.test(name));
  return { names: new Set(indirect ? namesOf(true) : direct), indirect };
}

/** Where carried code goes by a jump, and on request what carried code and data hold the address of. */
function goesTo(
  { arch }: UnitObject,
  selection: Selection,
  addresses: boolean,
): { readonly user: Atom; readonly route: Route }[] {
  return selection.atoms.flatMap((user) =>
    user.references
      .filter((reference) => (arch.isBranch(user, reference) ? arch.isCall?.(user, reference) !== true : addresses))
      .map((reference) => ({ user, route: selection.route(user, reference) })),
  );
}

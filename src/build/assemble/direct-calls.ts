import type { Atom, Reference } from "../../diff/atoms.ts";
import { coldParent } from "../../diff/names.ts";
import type { UnitObject } from "../../diff/unit-object.ts";
import type { ResolvedUnit } from "../resolve/plan.ts";

/** Redirected functions of a unit that other carried functions call without going by the kernel's function; see `CallChoice` of diff/select.ts. */
export function calledDirectly({
  plan,
  selection,
  redirections,
}: Pick<ResolvedUnit, "selection" | "redirections"> & {
  readonly plan: Pick<ResolvedUnit["plan"], "patched">;
}): ReadonlySet<Atom> {
  const redirected = new Set(redirections.map(({ atom }) => atom));
  const called = new Set<Atom>();
  for (const user of selection.atoms) {
    for (const reference of user.references) {
      const route = selection.route(user, reference);
      if (route.to !== "inside" || route.atom === user || !redirected.has(route.atom)) continue;
      if (coldParent(user.name) === route.atom.name || !plan.patched.arch.isBranch(user, reference)) continue;
      if (isEntered(route.atom, user, reference, plan.patched)) called.add(route.atom);
    }
  }
  return called;
}

/** False for a branch back into the middle of a function, as the replacement code of its own alternatives has. */
function isEntered(called: Atom, user: Atom, { offset, type, target }: Reference, { arch }: UnitObject): boolean {
  const tail = arch.isPcRelative(type) ? arch.instructionTail(user.bytes, offset, type) : 0;
  return target.addend + tail === (called.symbol === undefined ? 0 : called.symbol.value - called.start);
}

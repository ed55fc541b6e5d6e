import type { Atom } from "../diff/atoms.ts";
import { coldParent } from "../diff/names.ts";
import type { ResolvedUnit } from "./plan.ts";

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
      called.add(route.atom);
    }
  }
  return called;
}

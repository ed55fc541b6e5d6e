import { isGone } from "../../diff/special-sections/section-classes.ts";
import { collectUsers } from "../../diff/users.ts";
import type { ResolvedUnit } from "../resolve/plan.ts";
import { listOf, type Warning } from "./warning.ts";

/**
 * Warns of functions that the patch takes away and whose address the kernel's own code or data holds: nothing redirects them, so objects from before the
 * patch that have the address go on calling the old code.
 */
export function goneCallbacks({ plan }: Pick<ResolvedUnit, "plan">): Warning[] {
  const { original, correlation, pair, changes } = plan;
  const users = collectUsers(original);
  const redirected = new Set([...changes.functions.values()].map((change) => change.original));
  return original.atoms.flatMap((atom): Warning[] => {
    if (atom.kind !== "function" || correlation.patchedOf.has(atom) || redirected.has(atom)) return [];
    if (isGone(atom.section, pair.object)) return [];
    const holders = (users.get(atom) ?? []).filter(
      ({ user, reference }) => !original.arch.isBranch(user, reference) && !isGone(user.section, pair.object),
    );
    if (holders.length === 0) return [];
    const names = [...new Set(holders.map(({ user }) => user.base))];
    return [
      {
        code: "GONE_CALLBACK",
        function: atom.name,
        unit: pair.source,
        why: `the patched source has no such function, and ${listOf(names)} put its address where objects from before the patch may keep it: those go on calling the old code`,
        hint: `if it only has another name now, leave it the old one, so that its calls are redirected; else see that no object can call it any more`,
      },
    ];
  });
}

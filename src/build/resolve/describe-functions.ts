import type { BuiltFunction } from "../build-types.ts";
import { changedLines } from "../pairs/changed-lines.ts";
import type { ResolvedUnit, UnitPlan } from "./plan.ts";

/** Functions of all units as the result lists them, each with its reason and, where the object knows it, the source line of the first difference. */
export function describeFunctions(plans: readonly UnitPlan[], resolved: readonly ResolvedUnit[]): BuiltFunction[] {
  const functions: BuiltFunction[] = [];
  for (const plan of plans) {
    const lines = changedLines(plan.patched, plan.changes.functions.values());
    const redirections = resolved.find((unit) => unit.plan === plan)?.redirections ?? [];
    const symposOf = new Map(redirections.map(({ atom, sympos }) => [atom, sympos]));
    const carried = new Set(plan.selection.atoms);
    for (const change of plan.changes.functions.values()) {
      if (!carried.has(change.atom)) continue;
      const line = lines.get(change.atom);
      functions.push({
        name: change.atom.name,
        object: plan.pair.object,
        unit: plan.pair.source,
        sympos: symposOf.get(change.atom) ?? 0,
        change: change.change,
        proven: change.original === undefined || plan.proof.isMatched(change.original),
        reason: line === undefined ? change.reason : `${change.reason} (${line})`,
      });
    }
  }
  return functions;
}

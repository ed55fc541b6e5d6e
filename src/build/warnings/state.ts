import { liveValueNames } from "../../adapt/live-data/values-text.ts";
import type { Atom } from "../../diff/atoms.ts";
import { isCorrelatable, isWritable } from "../../diff/correlate.ts";
import type { ResolvedUnit } from "../resolve/plan.ts";
import type { Warning } from "./warning.ts";

/** Warns of new variables, which know nothing of what happened before the patch module was loaded. */
export function newState({ plan }: ResolvedUnit): Warning[] {
  return plan.selection.atoms
    .filter((atom) => isWritable(atom) && atom.symbol !== undefined && isCorrelatable(atom))
    .filter(({ base }) => !liveValueNames.has(base))
    .map((atom) => ({
      code: "NEW_STATE",
      function: atom.base,
      unit: plan.pair.source,
      why: "this new variable starts with its initial value, whatever happened before the patch was loaded, and goes with the patch module",
      hint: "make sure that objects from before the patch are handled; state that belongs to one object can be a shadow variable",
    }));
}

/** Warns of variables of the unit that a changed function did not use before: what is in them, old code has put there. */
export function oldState({ plan }: ResolvedUnit): Warning[] {
  const users = new Map<string, string[]>();
  for (const { atom, original } of plan.changes.functions.values()) {
    if (original === undefined) continue;
    const before = new Set(original.references.flatMap(({ target }) => (target.kind === "atom" ? [target.atom] : [])));
    const variables = atom.references.flatMap((reference): Atom[] => {
      const route = plan.selection.route(atom, reference);
      return route.to === "original" && isState(route.atom) && !before.has(route.atom) ? [route.atom] : [];
    });
    for (const name of new Set(variables.map((variable) => variable.name)))
      users.set(name, [...(users.get(name) ?? []), atom.name]);
  }
  return [...users].map(([name, functions]) => ({
    code: "OLD_STATE",
    function: name,
    unit: plan.pair.source,
    why: `${functions.join(", ")} did not use this variable before; its content was initialised and kept by the old code`,
    hint: "make sure that the new code copes with every value that the old code may have left in it; a pre-patch callback can correct it",
  }));
}

function isState(atom: Atom): boolean {
  return isWritable(atom) && isCorrelatable(atom);
}

import type { ChangedConstant } from "../../change/constants.ts";
import { sourceName } from "../../diff/declarations.ts";
import type { ResolvedUnit } from "../resolve/plan.ts";
import { listOf, type Warning } from "./warning.ts";

/**
 * Warns of a macro that gets another value where several functions of a unit have it in their code: objects that the old code has made, their sizes, their limits
 * and their flags, go by the old value. Functions that the patch rewrites do not count; their author has seen them.
 * @param rewritten names of the functions whose text the change touches.
 */
export function changedConstantUsers(
  { plan }: Pick<ResolvedUnit, "plan">,
  constants: readonly ChangedConstant[],
  rewritten: ReadonlySet<string>,
): Warning[] {
  if (constants.length === 0) return [];
  const changed = [...plan.changes.functions.values()]
    .filter(({ original }) => original !== undefined)
    .map(({ atom }) => sourceName(atom.name));
  const ran = [...plan.changes.ranAtBoot.keys()];
  const users = [...new Set([...ran, ...changed])].filter((name) => !rewritten.has(name));
  if (users.length < 2) return [];
  const values = constants.map(({ name, before, after }) => `${name} (${before}, now ${after})`);
  const many = constants.length > 1;
  const gone =
    ran.length === 0 ? "" : `; ${listOf(ran)} ran with the old value${many ? "s" : ""} and will not run again`;
  return [
    {
      code: "CONSTANT_CHANGED",
      function: listOf(constants.map(({ name }) => name)),
      unit: plan.pair.source,
      why: `${listOf(users)} change only because of ${listOf(values)}${gone}`,
      hint: "objects that the old code has set up keep the old sizes, limits and flags: make sure that the new code copes with them, or keep the value",
    },
  ];
}

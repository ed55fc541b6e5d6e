import type { Atom, Reference } from "../../diff/atoms.ts";
import type { TargetObject } from "../../match/target-object.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";
import type { Reach } from "./resolve.ts";
import { addressOf } from "./target-places.ts";

/** A use of something in the running kernel by carried code. */
export interface KernelUse {
  readonly user: string;
  /** What the running kernel has in place of the user; undefined for new code. */
  readonly original: Atom | undefined;
  readonly reach: Reach;
}

/**
 * Refuses a use of what is in memory that the kernel frees after boot, whichever unit defines it. Code that only runs at boot uses such things too (`__ref`),
 * so what the running kernel's own version of the user refers to is left alone.
 */
export function refuseFreed({ user, original, reach }: KernelUse, target: TargetObject, where: string): Refusal[] {
  if (reach.by !== "klp" || reach.symbol.object !== target.name) return [];
  const { name, sympos } = reach.symbol;
  const address = addressOf(target, name, sympos);
  const place = address === undefined ? undefined : target.goneAt?.(address, name);
  if (place === undefined || original?.references.some((reference) => refersTo(reference, name)) === true) return [];
  const problem = `${user} refers to ${name} in ${place}, which is freed after boot`;
  return [refuse("SPECIAL_SECTION", name, where, { problem })];
}

function refersTo({ target }: Reference, name: string): boolean {
  if (target.kind === "external") return target.name === name;
  return target.kind === "atom" && target.atom.name === name;
}

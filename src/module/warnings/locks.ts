import type { ResolvedUnit } from "../plan.ts";
import { callsOf, type Warning } from "./warning.ts";

/** Taking and releasing of locks, by the symbols that they become. */
const lockCalls =
  /(^|_)(mutex|spin|rwlock|read|write|rtnl|rcu_read|srcu_read|down|up|bh|folio|page|buffer)_?(un)?(lock|trylock|read|write)|^(up|down)(_read|_write|_interruptible|_killable|_timeout|_trylock)?$|^(lock_sock|release_sock|lock_two_nondirectories|unlock_two_nondirectories)/;

/** Releases, by the same names. */
const releases = /unlock|^up(_|$)|(^|_)up_(read|write)|release_sock/;

/** Warns of functions that use locks otherwise than their originals: during the transition, tasks in old and in new code hold them side by side. */
export function lockChanges({ plan }: ResolvedUnit): Warning[] {
  const warnings: Warning[] = [];
  for (const { atom, original } of plan.changes.functions.values()) {
    const difference = original === undefined ? undefined : lockDifference(callsOf(original), callsOf(atom));
    if (difference === undefined) continue;
    warnings.push({
      code: "LOCKS_CHANGED",
      function: atom.name,
      unit: plan.pair.source,
      why: `it uses locks otherwise than before (${difference}), and during the transition old and new code run side by side`,
      hint: "check that a task in the old code and one in the new cannot deadlock or miss each other",
    });
  }
  return warnings;
}

function lockDifference(before: readonly string[], after: readonly string[]): string | undefined {
  const [old, fresh] = [countLocks(before), countLocks(after)];
  const clauses: string[] = [];
  for (const name of new Set([...old.keys(), ...fresh.keys()])) {
    const [was, is] = [old.get(name) ?? 0, fresh.get(name) ?? 0];
    if (was === is) continue;
    const isRelease = releases.test(name);
    const word =
      was === 0
        ? isRelease
          ? "newly released: "
          : "newly taken: "
        : is === 0
          ? isRelease
            ? "no longer released: "
            : "no longer taken: "
          : "";
    clauses.push(`${word}${name} ${was} → ${is} times`);
  }
  return clauses.length === 0 ? undefined : clauses.join(", ");
}

function countLocks(calls: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of calls) if (lockCalls.test(name)) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

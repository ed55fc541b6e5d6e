import type { UnitObject } from "../../diff/unit-object.ts";
import { sourceLines } from "../../elf/line-table.ts";
import type { UnitPlan } from "../resolve/plan.ts";
import { describeValue, mayBeEqual } from "./locks/address-values.ts";
import { lockOperation } from "./locks/lock-operations.ts";
import { arrow, describeLock, type LockFacts, type LockPaths, LockReader, type LockUse } from "./locks/lock-paths.ts";
import { callsOf, listOf, type Warning } from "./warning.ts";

/** What the comparison of locks looks at. */
type ComparedUnit = Pick<UnitPlan, "original" | "patched" | "changes"> & {
  readonly pair: Pick<UnitPlan["pair"], "source">;
};

/**
 * Warns of functions that use locks otherwise than their originals: during the transition, tasks in old and in new code hold them side by side.
 * How often the compiler has written down the same use is nothing of the kind.
 * @param isAboutLocks false when the text of the change cannot have made a difference to the ways on which locks are held.
 */
export function lockChanges({ plan }: { readonly plan: ComparedUnit }, isAboutLocks: boolean): Warning[] {
  const [before, after] = [new LockReader(plan.original), new LockReader(plan.patched)];
  const warnings: Warning[] = [];
  for (const { atom, original } of plan.changes.functions.values()) {
    if (original === undefined) continue;
    const [old, fresh] = [before.factsOf(original), after.factsOf(atom)];
    const clauses =
      old === undefined || fresh === undefined
        ? countDifferences(callsOf(original), callsOf(atom))
        : differences(old, fresh, plan, isAboutLocks);
    if (clauses.length === 0) continue;
    warnings.push({
      code: "LOCKS_CHANGED",
      function: atom.name,
      unit: plan.pair.source,
      why: `it uses locks otherwise than before (${listOf(clauses)}), and old and new code run concurrently during the transition`,
      hint: "check that a task in the old code and one in the new cannot deadlock or miss each other",
    });
  }
  return warnings;
}

function differences(
  old: LockFacts,
  fresh: LockFacts,
  { original, patched }: ComparedUnit,
  isAboutLocks: boolean,
): string[] {
  const parameters = patched.arch.dataFlow?.calls.parameters ?? [];
  const tell = (use: LockUse, more: string, gone: boolean): string => {
    const word = use.operation.act === "release" ? "released" : "taken";
    return `${gone ? "no longer" : "newly"} ${word}: ${describeLock(use, parameters)}${more}`;
  };
  const clauses = [
    ...withoutEqual(fresh.uses, old.uses).map((use) => tell(use, "", false)),
    ...withoutEqual(old.uses, fresh.uses).map((use) => tell(use, "", true)),
  ];
  if (clauses.length > 0 || !isAboutLocks || old.paths === undefined || fresh.paths === undefined) return clauses;
  return pathDifferences(old.paths, fresh.paths, original, patched);
}

/** Uses of which the others have none on a lock that may be the same. */
function withoutEqual(uses: readonly LockUse[], others: readonly LockUse[]): LockUse[] {
  return uses.filter(
    ({ operation, lock }) =>
      !others.some((other) => other.operation.name === operation.name && mayBeEqual(lock, other.lock)),
  );
}

function pathDifferences(old: LockPaths, fresh: LockPaths, original: UnitObject, patched: UnitObject): string[] {
  const missing = (some: ReadonlySet<string>, from: ReadonlySet<string>): string[] =>
    [...some].filter((name) => !from.has(name)).sort();
  const parameters = patched.arch.dataFlow?.calls.parameters ?? [];
  const shown = (name: string): string => {
    const [value] = (fresh.locks.get(name) ?? old.locks.get(name))?.values() ?? [];
    return value === undefined ? name : describeValue(value, parameters);
  };
  const inOrder = (order: string): string => order.split(arrow).map(shown).join(arrow);
  return [
    ...missing(fresh.orders, old.orders).map((order) => `newly taken while another is held: ${inOrder(order)}`),
    ...missing(fresh.kept, old.kept).map((name) => `now may be held at the return: ${shown(name)}`),
    ...missing(old.kept, fresh.kept).map((name) => `no longer held at any return: ${shown(name)}`),
    ...missing(fresh.given, old.given).map((name) => `now may be released without being held: ${shown(name)}`),
    ...missing(old.given, fresh.given).map((name) => `no longer released without being held: ${shown(name)}`),
    ...siteDifferences(old, fresh, original, patched, shown),
  ];
}

/** Lines of the source that the change leaves alone, and that are reached with other locks than before. */
function siteDifferences(
  old: LockPaths,
  fresh: LockPaths,
  original: UnitObject,
  patched: UnitObject,
  shown: (name: string) => string,
): string[] {
  const [before, after] = [sitesByLine(old, original), sitesByLine(fresh, patched)];
  const clauses = new Set<string>();
  for (const [site, { held, name }] of after) {
    const was = before.get(site)?.held;
    if (was === undefined) continue;
    for (const lock of was) if (!held.has(lock)) clauses.add(`no longer always held at ${name}: ${shown(lock)}`);
    for (const lock of held) if (!was.has(lock)) clauses.add(`now always held at ${name}: ${shown(lock)}`);
  }
  return [...clauses];
}

interface Site {
  readonly held: ReadonlySet<string>;
  /** For a person. */
  readonly name: string;
}

/** By what happens and by its line in the source, where lines keep their numbers: the locks that are always held there. */
function sitesByLine({ sites }: LockPaths, { elf }: UnitObject): Map<string, Site> {
  const lines = sourceLines(
    elf,
    sites.map(({ place }) => ({ section: place.atom.section.index, offset: place.atom.start + place.offset })),
  );
  const found = new Map<string, Site>();
  for (const [index, { what, held }] of sites.entries()) {
    const line = lines[index];
    if (line === undefined) continue;
    const key = `${what} ${line.file}:${line.line}`;
    const known = found.get(key)?.held;
    const name = `${line.file.replace(/^.*\//, "")}:${line.line}`;
    found.set(key, { name, held: new Set([...held].filter((lock) => known === undefined || known.has(lock))) });
  }
  return found;
}

/** For processors of which kmend does not follow the code: how often each kind of lock is used. */
function countDifferences(before: readonly string[], after: readonly string[]): string[] {
  const [old, fresh] = [countLocks(before), countLocks(after)];
  const clauses: string[] = [];
  for (const name of new Set([...old.keys(), ...fresh.keys()])) {
    const [was, is] = [old.get(name) ?? 0, fresh.get(name) ?? 0];
    if (was === is) continue;
    const act = lockOperation(name)?.act === "release" ? "released" : "taken";
    const word = was === 0 ? `newly ${act}: ` : is === 0 ? `no longer ${act}: ` : "";
    clauses.push(`${word}${name} ${was} → ${is} times`);
  }
  return clauses;
}

function countLocks(calls: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of calls) if (lockOperation(name) !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

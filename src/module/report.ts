import { run } from "../support/run.ts";
import type { BuiltFunction } from "./build-types.ts";
import type { ResolvedUnit, UnitPlan } from "./plan.ts";

/** Functions of all units as the result lists them, each with its reason and, where the object knows it, the source line of the first difference. */
export async function describeFunctions(
  plans: readonly UnitPlan[],
  resolved: readonly ResolvedUnit[],
): Promise<BuiltFunction[]> {
  const functions: BuiltFunction[] = [];
  for (const plan of plans) {
    const lines = await sourceLines(plan);
    const redirections = resolved.find((unit) => unit.plan === plan)?.redirections ?? [];
    for (const change of plan.changes.functions.values()) {
      if (!plan.selection.atoms.includes(change.atom)) continue;
      const line = lines.get(change.atom.name);
      functions.push({
        name: change.atom.name,
        object: plan.pair.object,
        unit: plan.pair.source,
        sympos: redirections.find(({ atom }) => atom === change.atom)?.sympos ?? 0,
        change: change.change,
        proven: change.original === undefined || plan.proof.isMatched(change.original),
        reason: line === undefined ? change.reason : `${change.reason} (${line})`,
      });
    }
  }
  return functions;
}

/** Source places of the first differences, by function, as addr2line(1) finds them in the debug information of the patched object. */
async function sourceLines({ changes, pair }: UnitPlan): Promise<Map<string, string>> {
  const bySection = new Map<string, { name: string; address: string }[]>();
  for (const { atom, differsAt, original } of changes.functions.values()) {
    if (original === undefined || differsAt === undefined) continue;
    const list = bySection.get(atom.section.name) ?? [];
    list.push({ name: atom.name, address: `0x${(atom.start + differsAt).toString(16)}` });
    bySection.set(atom.section.name, list);
  }
  const lines = new Map<string, string>();
  await Promise.all(
    [...bySection].map(async ([section, places]) => {
      const args = ["-e", pair.patchedPath, "-j", section, ...places.map(({ address }) => address)];
      const result = await run("addr2line", args, { allowFailure: true });
      result.stdout.split("\n").forEach((line, index) => {
        const match = /([^/]+\.[ch]):(\d+)/.exec(line);
        const name = places[index]?.name;
        if (match !== null && name !== undefined) lines.set(name, `${match[1]}:${match[2]}`);
      });
    }),
  );
  return lines;
}

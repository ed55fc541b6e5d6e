import type { Refusal } from "../refusals/refusals.ts";
import type { AdaptedParts, BuildResult, BuiltFunction } from "./build-types.ts";
import type { Session } from "./examination.ts";
import type { CompiledUnits } from "./pairs/unit-pairs.ts";
import type { ResolvedUnit } from "./resolve/plan.ts";
import { findWarnings, type Warning } from "./warnings/find-warnings.ts";

/** What a result is made of; what is missing did not come about. */
export interface Parts {
  readonly units: CompiledUnits;
  readonly notes: readonly string[];
  readonly refusals?: readonly Refusal[];
  readonly functions?: readonly BuiltFunction[];
  readonly resolved?: readonly ResolvedUnit[];
  readonly module?: BuildResult["module"];
  readonly kept?: readonly Warning[];
  readonly adapted?: AdaptedParts | undefined;
}

/** The result of a build, with its warnings and times. */
export function resultOf(session: Session, outcome: BuildResult["outcome"], parts: Parts): BuildResult {
  const { kernel, progress, started } = session;
  const symbols = (parts.resolved ?? []).flatMap(({ reached, plan }) =>
    [...reached].flatMap(([name, reach]) => {
      if (reach.by === "klp")
        return [
          { name: reach.symbol.name, object: reach.symbol.object, sympos: reach.symbol.sympos, proof: reach.proof },
        ];
      return reach.by === "loader" ? [{ name, object: plan.pair.object, sympos: 0, proof: reach.proof }] : [];
    }),
  );
  return {
    schema: 1,
    outcome,
    kernel: { release: kernel.release, buildId: kernel.buildId },
    module: parts.module ?? null,
    functions: parts.functions ?? [],
    refusals: parts.refusals ?? [],
    units: parts.units.pairs.map(({ source, object }) => ({ path: source, object })),
    symbols: [
      ...new Map(symbols.map((symbol) => [`${symbol.object} ${symbol.name} ${symbol.sympos}`, symbol])).values(),
    ],
    ...(parts.adapted === undefined ? {} : { adapted: parts.adapted }),
    notes: parts.notes,
    warnings: [
      ...(parts.kept ?? []),
      ...findWarnings(parts.resolved ?? [], {
        files: session.change.files,
        image: kernel.image,
        clearsRelocations: clearsRelocations(kernel.release),
      }),
    ],
    milliseconds: { total: Math.round(performance.now() - started), ...progress.milliseconds },
  };
}

/** clear_relocate_add() of kernel/livepatch/core.c came with Linux 6.3. */
function clearsRelocations(release: string): boolean {
  const [major, minor] = release.split(".").map((part) => Number.parseInt(part, 10)) as [number, number];
  return major > 6 || (major === 6 && minor >= 3);
}

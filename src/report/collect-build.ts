import { readFile } from "node:fs/promises";
import type { BuildFacts } from "../build/build-facts.ts";
import type { BuiltFunction } from "../build/build-types.ts";
import type { UnitPlan } from "../build/resolve/plan.ts";
import type { FunctionChange } from "../diff/changes.ts";
import { inlinedFunctions } from "../diff/inlined-functions.ts";
import { baseName } from "../diff/names.ts";
import { sealOf } from "../patch-module/seal.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import type { TryResult } from "../vm/try-types.ts";
import { attentionOf } from "./attention.ts";
import { codeViewOf } from "./code-view.ts";
import { type ModuleMap, moduleMapOf } from "./module-map.ts";
import { reachGraphOf } from "./reach-graph.ts";
import { type Asking, repetitionOf } from "./repetition.ts";
import type { ReportedFunction, ReviewReport, Trial } from "./report-types.ts";
import { sourceChangesOf } from "./source-fates.ts";
import { SourceTexts } from "./source-texts.ts";
import { StateReader } from "./state-changes.ts";
import { touchedTypesOf } from "./touched-types.ts";

/**
 * Collects the report of a build, before its files are gone: everything in it is what the build found out, or follows from the objects that it compared.
 * @param subject what was given.
 * @param asking how the command asks for the build, where it is not `kmend build` with patch files.
 */
export async function collectBuildReport(
  facts: BuildFacts,
  subject: ReviewReport["subject"],
  asking?: Asking,
): Promise<ReviewReport> {
  const { session, examination, result } = facts;
  const shown = await functionsOf(facts);
  const functions = [...shown.values()];
  const files = sourceChangesOf(facts, (change) => shown.get(change)?.id ?? null);
  const content = result.module === null ? undefined : await readFile(result.module.path);
  const module = content === undefined ? null : moduleMapOf(content);
  const adapted = result.adapted && {
    parts: result.adapted.parts.map(({ what, how }) => `${what}: ${how}`),
    assumptions: result.adapted.assumptions.map(({ what, text }) => `${what}: ${text}`),
  };
  const report: ReviewReport = {
    schema: 1,
    subject,
    verdict: {
      outcome: result.outcome === "failed" ? "refused" : result.outcome,
      kernel: result.kernel,
      module:
        result.module === null
          ? null
          : { name: result.module.name, sha256: result.module.sha256, bytes: result.module.bytes },
      file: content === undefined ? null : sealOf(content) === "intact" ? "intact" : "unsealed",
      cves: session.options.cves ?? [],
      functions: countsOf(functions),
      trial: "none",
      refusals: result.refusals,
      warnings: result.warnings,
      notes: result.notes,
      attention: [],
      adapted: adapted ?? null,
    },
    files,
    functions,
    units: examination.plans.map(({ pair, proof }) => ({
      path: pair.source,
      object: pair.object,
      matched: proof.matchedCount,
      functions: proof.functionCount,
    })),
    symbols: result.symbols,
    graph: await reachGraphOf(facts, files),
    types: await touchedTypesOf(facts),
    module,
    trial: null,
    repeat: repetitionOf(facts, asking),
  };
  return withAttention(report, {
    allowedLayouts: session.options.allowLayout ?? [],
    sameCompiler: session.compiler.same,
  });
}

/** The report with a trial of its module. @throws KmendError `TRIAL_OF_OTHER` (exit 2) for a trial of another module or on another kernel. */
export function withTrial(report: ReviewReport, tried: TryResult): ReviewReport {
  requireSameModule(report.verdict, tried);
  const { milliseconds: _here, schema: _one, ...trial } = tried;
  const remarks = tried.sha256 === undefined ? [...trial.remarks, noDigest] : trial.remarks;
  const shown: Trial = { ...trial, remarks };
  const verdict = { ...report.verdict, trial: tried.verdict };
  const attention = report.verdict.attention.filter(({ section }) => section !== "trial");
  const failed = attentionOf({
    ...verdict,
    outcome: "built",
    warnings: [],
    refusals: [],
    adapted: null,
    ...nothingMore,
  }).filter(({ section }) => section === "trial");
  return { ...report, trial: shown, verdict: { ...verdict, attention: [...failed, ...attention] } };
}

const noDigest =
  "the trial does not tell the digest of what was tried: it may be another build of a module of this name";

function requireSameModule({ module, kernel }: ReviewReport["verdict"], tried: TryResult): void {
  const underscored = (name: string): string => name.replaceAll("-", "_");
  const problem =
    module === null
      ? "no module was made"
      : underscored(tried.module) !== underscored(module.name)
        ? `the trial is of ${tried.module}, the report of ${module.name}`
        : tried.kernel !== kernel.release
          ? `the trial ran on ${tried.kernel}, and the module is for ${kernel.release}`
          : tried.sha256 !== undefined && tried.sha256 !== module.sha256
            ? "the module that was tried has another digest"
            : undefined;
  if (problem === undefined) return;
  throw new KmendError({
    code: "TRIAL_OF_OTHER",
    message: `the trial is not one of this module: ${problem}`,
    why: "its verdict says nothing about what the report shows",
    hint: "kmend try MODULE --json > trial.json tries the very module",
    exitCode: ExitCode.usage,
  });
}

const nothingMore = {
  signed: undefined,
  keptAddresses: 0,
  unchecked: undefined,
  allowedLayouts: [],
  sameCompiler: undefined,
} as const;

/** Fills in who has to look at what. */
export function withAttention(
  report: ReviewReport,
  further: {
    readonly allowedLayouts: readonly string[];
    readonly sameCompiler: boolean | undefined;
    readonly unchecked?: string | undefined;
  },
): ReviewReport {
  const { verdict, module } = report;
  const attention = attentionOf({ ...verdict, ...further, ...ofModule(module) });
  return { ...report, verdict: { ...verdict, attention } };
}

function ofModule(module: ModuleMap | null): { readonly signed: boolean | undefined; readonly keptAddresses: number } {
  return { signed: module?.signed, keptAddresses: module?.keptAddresses.length ?? 0 };
}

/** How many functions change and how many of them are proven. */
export function countsOf(functions: readonly ReportedFunction[]): ReviewReport["verdict"]["functions"] {
  const changed = functions.filter(({ change }) => change === "changed");
  return {
    changed: changed.length,
    new: functions.length - changed.length,
    proven: changed.filter(({ proven }) => proven === true).length,
  };
}

async function functionsOf({
  session,
  examination,
  result,
}: BuildFacts): Promise<Map<FunctionChange, ReportedFunction>> {
  const texts = new SourceTexts(session.context.tree.path, session.change.files);
  const functions = new Map<FunctionChange, ReportedFunction>();
  for (const plan of examination.plans) {
    const reader = new StateReader(plan);
    const carried = new Set(plan.selection.atoms);
    for (const change of plan.changes.functions.values()) {
      if (!carried.has(change.atom)) continue;
      const built = result.functions.find(
        ({ name, unit, object }) =>
          name === change.atom.name && unit === plan.pair.source && object === plan.pair.object,
      );
      if (built !== undefined)
        functions.set(change, await reported(change, plan, built, reader, texts, functions.size));
    }
  }
  return functions;
}

async function reported(
  change: FunctionChange,
  plan: UnitPlan,
  built: BuiltFunction,
  reader: StateReader,
  texts: SourceTexts,
  number: number,
): Promise<ReportedFunction> {
  const { atom, original } = change;
  const { object, sympos, change: kind, proven, reason } = built;
  const inlined = [...(inlinedFunctions(plan.patched).get(baseName(atom.name)) ?? [])].sort();
  return {
    id: `fn-${number + 1}`,
    name: atom.name,
    object,
    unit: built.unit,
    sympos,
    change: kind,
    proven: kind === "new" ? null : proven,
    reason,
    bytes: { shipped: original === undefined ? null : original.end - original.start, patched: atom.end - atom.start },
    code: await codeViewOf(change, plan, texts),
    proof: original === undefined ? null : ((await plan.proof.recordOf(original)) ?? null),
    inlined,
    state: reader.stateOf(change),
  };
}

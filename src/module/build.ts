import { mkdir, rm, stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename, join, resolve } from "node:path";
import type { ChangeSet } from "../change/change-set.ts";
import { applyPatches, readPatchFile } from "../change/patch-files.ts";
import { ModuleObject } from "../match/module-object.ts";
import type { TargetObject } from "../match/target-object.ts";
import { VmlinuxObject } from "../match/vmlinux-object.ts";
import { rethrowDiskErrors, sha256, sweepTemporaries, temporaryBeside, writeFileAtomically } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { type Progress, SilentProgress } from "../support/progress.ts";
import type { Refusal } from "../support/refusals.ts";
import { version } from "../support/version.ts";
import { type CompilerComparison, compareCompiler, requireSameCompiler } from "../target/compiler.ts";
import { findTargetKernel, type TargetKernel } from "../target/find.ts";
import { ShippedModules } from "../target/shipped-module.ts";
import { readSymvers } from "../target/symvers.ts";
import { UnitCache } from "../tree/compile.ts";
import { type PreparedTree, prepareTree } from "../tree/prepare.ts";
import type { BuildOptions, BuildResult, BuiltFunction } from "./build-types.ts";
import { checkUnitLayouts, explainUnproven, KernelTypes } from "./check-layouts.ts";
import { extractUnit } from "./extract.ts";
import { addKlpRelocations } from "./klp-relocations.ts";
import { linkModule } from "./link.ts";
import { moduleName } from "./module-name.ts";
import { patchTable } from "./patch-table.ts";
import {
  newGlobalsOf,
  planUnit,
  type ResolvedUnit,
  type ResolveFacts,
  refuseDoubleCallbacks,
  resolveUnit,
  type UnitPlan,
} from "./plan.ts";
import { describeFunctions } from "./report.ts";
import { selfCheck } from "./self-check.ts";
import { settleAmbiguous } from "./settle.ts";
import { moduleTemplate } from "./template.ts";
import { type CompiledUnits, compileUnits, type Workshop } from "./unit-pairs.ts";

/**
 * Builds a patch module from source patches: apply, compile the touched units without and with the patch, diff, match against the kernel's image, link,
 * check, write. The user's files and the prepared tree are never changed, and the module is written only when everything about it is proven.
 * @returns outcome `built`, `unchanged` (nothing that this kernel runs changes) or `refused` (with all reasons).
 * @throws KmendError for everything that keeps it from finding out: a patch that does not apply, a missing kernel, a compiler error.
 */
export async function build(options: BuildOptions): Promise<BuildResult> {
  const started = performance.now();
  const progress = options.progress ?? new SilentProgress();
  const { signal } = options;
  const patches = await Promise.all(options.patches.map((name) => readPatchFile(name)));
  if (patches.length === 0) {
    throw new KmendError({
      code: "NO_PATCH",
      message: "no patch was given",
      hint: "kmend build fix.patch",
      exitCode: ExitCode.usage,
    });
  }
  const name = moduleName(options.name, options.patches);
  const output = resolve(options.output ?? ".");
  await requireFolder(output);

  const kernel = await findTargetKernel({ kernel: options.kernel, image: options.image, progress, signal });
  const compiler = await compareCompiler(kernel.image.banner, signal);
  if (options.skipCompilerCheck !== true) requireSameCompiler(compiler);
  else if (!compiler.same)
    progress.note(
      `the compiler is not the kernel's (kernel: ${compiler.kernel}; here: ${compiler.here}): the proof decides`,
    );
  const tree = await prepareTree(kernel, { compiler: compiler.program, jobs: options.jobs, progress, signal });

  await sweepTemporaries(kernel.folder);
  const folder = temporaryBeside(join(kernel.folder, "build"));
  const logFile = join(kernel.folder, "build.log");
  await rm(logFile, { force: true });
  await mkdir(folder, { recursive: true }).catch(rethrowDiskErrors);
  try {
    const change = await progress.phase("patch", "Apply the patch", () =>
      applyPatches(patches, tree.path, join(folder, "applied")),
    );
    const workshop: Workshop = {
      tree,
      cache: new UnitCache(join(kernel.folder, `units-${sha256(compiler.here).slice(0, 8)}`)),
      folder,
      kernelFolder: kernel.folder,
      maxUnits: options.maxUnits ?? 500,
      jobs: options.jobs ?? availableParallelism(),
      logFile,
      progress,
      signal,
    };
    const session = { options, name, output, kernel, compiler, tree, workshop, change, progress, started };
    return await buildChange(session);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Session {
  readonly options: BuildOptions;
  readonly name: string;
  readonly output: string;
  readonly kernel: TargetKernel;
  readonly compiler: CompilerComparison;
  readonly tree: PreparedTree;
  readonly workshop: Workshop;
  readonly change: ChangeSet;
  readonly progress: Progress;
  readonly started: number;
}

async function buildChange(session: Session): Promise<BuildResult> {
  const { progress, workshop, kernel, change } = session;
  const units = await compileUnits(change, workshop);
  const notes = [...change.notes, ...units.notes, ...notBuiltNotes(units)];
  if (units.pairs.length === 0) {
    const outcome = units.refusals.length > 0 ? "refused" : "unchanged";
    return result(session, outcome, { units, notes, refusals: units.refusals });
  }
  const symvers = await readSymvers(kernel.symversPath);
  const types = new KernelTypes(kernel);
  const [plans, layouts] = await Promise.all([
    progress.phase("diff", "Compare and prove", () => planUnits(units, kernel)),
    checkUnitLayouts(units.pairs, change, types, session.options.allowLayout ?? [], workshop),
  ]);
  const newGlobals = new Map(
    plans.flatMap((plan) => newGlobalsOf(plan).map((symbol) => [symbol, plan.pair.object] as const)),
  );
  const facts: ResolveFacts = { symvers, newGlobals, settled: new Map(), compiler: session.compiler };
  const changed = plans.filter(({ selection }) => selection.atoms.length > 0);
  let resolved = changed.map((plan) => resolveUnit(plan, facts));
  const ambiguous = resolved.flatMap((unit) => unit.ambiguous);
  if (ambiguous.length > 0) {
    const settled = await progress.phase("settle", "Look into the units that define ambiguous symbols", () =>
      settleAmbiguous(ambiguous, workshop, (object) => targetObject(object, kernel)),
    );
    if (settled.size > 0) resolved = changed.map((plan) => resolveUnit(plan, { ...facts, settled }));
  }
  const refusals = unique([
    ...units.refusals,
    ...plans.flatMap(({ changes, selection }) => [...changes.refusals, ...selection.refusals]),
    ...refuseDoubleCallbacks(plans),
    ...resolved.flatMap((unit) => unit.refusals),
    // Without code that knows it, a new layout is in nobody's way.
    ...(changed.length > 0 ? layouts.refusals : []),
  ]);
  const allNotes = [
    ...notes,
    ...layouts.notes,
    ...plans.flatMap(({ changes }) => changes.notes),
    ...resolved.flatMap((unit) => unit.notes),
  ];
  const functions = await describeFunctions(plans, resolved);
  if (refusals.length > 0) {
    const explained = await explainUnproven(refusals, units.pairs, types, workshop);
    return result(session, "refused", { units, notes: allNotes, refusals: explained, functions, resolved });
  }
  if (resolved.every(({ redirections, plan }) => redirections.length + plan.changes.callbacks.length === 0)) {
    return result(session, "unchanged", { units, notes: allNotes, functions: [] });
  }
  const module = await assemble(session, resolved, symvers);
  return result(session, "built", { units, notes: allNotes, functions, resolved, module });
}

/** Diffs and matches all units, each kernel object being opened once. */
async function planUnits(units: CompiledUnits, kernel: TargetKernel): Promise<UnitPlan[]> {
  const targets = new Map<string, TargetObject>();
  const plans: UnitPlan[] = [];
  for (const pair of units.pairs) {
    const target = targets.get(pair.object) ?? (await targetObject(pair.object, kernel));
    targets.set(pair.object, target);
    const plan = await planUnit(pair, target, {});
    // A header reaches many units and changes few of them: the others are not kept in memory.
    if (hasFindings(plan)) plans.push(plan);
  }
  return plans;
}

function hasFindings({ changes, selection }: UnitPlan): boolean {
  return (
    selection.atoms.length +
      changes.functions.size +
      changes.refusals.length +
      selection.refusals.length +
      changes.notes.length >
    0
  );
}

/** The kernel image or a shipped module, to match against. */
async function targetObject(object: string, kernel: TargetKernel): Promise<TargetObject> {
  if (object === "vmlinux") return new VmlinuxObject(kernel.image, basename(kernel.imagePath));
  const modules = await ShippedModules.open(kernel.modulesDir);
  const shipped = modules.find(object);
  if (shipped === undefined) {
    throw new KmendError({
      code: "MODULE_NOT_SHIPPED",
      message: `the target kernel has no module ${object}`,
      where: kernel.modulesDir,
      why: "the source says that a touched file belongs to it",
      hint: "check that source and kernel are of the same version and configuration",
    });
  }
  return new ModuleObject(object, await modules.read(shipped), `${basename(shipped.modfile)}.ko`);
}

/** Extracts, links, adds livepatch relocations, checks, and writes the module. */
async function assemble(
  session: Session,
  resolved: readonly ResolvedUnit[],
  symvers: ResolveFacts["symvers"],
): Promise<NonNullable<BuildResult["module"]>> {
  const { progress, workshop, kernel, name, tree, options, output } = session;
  const { signal } = workshop;
  const template = await progress.phase("template", "Ask Kbuild how it builds modules", () =>
    moduleTemplate(tree, kernel.folder, signal),
  );
  const file = await progress.phase("link", "Link the patch module", async () => {
    const extracts = resolved.map((unit, number) =>
      extractUnit({
        unit: unit.plan.patched,
        selection: unit.selection,
        redirections: unit.redirections,
        callbacks: unit.plan.changes.callbacks,
        object: unit.plan.pair.object,
        number,
        reachOriginal: unit.reachOriginal,
        reachExternal: unit.reachExternal,
      }),
    );
    const like = (resolved[0] as ResolvedUnit).plan.patched.elf;
    const counts = resolved.map(({ redirections, plan }) => ({
      functions: redirections.length,
      callbacks: plan.changes.callbacks.length,
    }));
    const table = patchTable(like, counts, options.replace !== false, moduleTexts(session, resolved, symvers));
    const linkFolder = join(workshop.folder, "link");
    await mkdir(linkFolder, { recursive: true });
    const objects = [...extracts.map(({ object }) => object), table];
    const linked = await linkModule(tree, template, name, objects, linkFolder, workshop.logFile, signal);
    return addKlpRelocations(
      linked,
      extracts.flatMap(({ klpRelocations }) => klpRelocations),
    );
  });
  const redirections = resolved.reduce((sum, unit) => sum + unit.redirections.length, 0);
  const problems = await progress.phase("check", "Check the patch module", async () =>
    selfCheck(file, {
      shipped: await anyShippedModule(kernel),
      name,
      release: kernel.release,
      symvers,
      redirections,
    }),
  );
  if (problems.length > 0) {
    throw new KmendError({
      code: "SELF_CHECK",
      message: "the patch module would not load correctly, so it is not written",
      why: problems.join("\n"),
      hint: "this is a defect of kmend; please report it with the patch and the kernel's release",
    });
  }
  const path = join(output, `${name}.ko`);
  await writeFileAtomically(path, file);
  return { path, name, sha256: sha256(file), bytes: file.length };
}

/** Some module of the target kernel. */
async function anyShippedModule(kernel: TargetKernel): Promise<Uint8Array | undefined> {
  const modules = await ShippedModules.open(kernel.modulesDir);
  const [first] = modules.loadable;
  return first === undefined ? undefined : modules.read(first);
}

/** What a loaded or a stray module tells about itself through `modinfo`. */
function moduleTexts(
  { kernel, change, options }: Session,
  resolved: readonly ResolvedUnit[],
  symvers: ResolveFacts["symvers"],
): string[] {
  const reached = resolved.flatMap((unit) =>
    [...unit.reached].flatMap(([name, reach]) => (reach.by === "loader" ? [name] : [])),
  );
  const namespaces = new Set(
    reached.map((name) => symvers.get(name)?.namespace ?? "").filter((namespace) => namespace !== ""),
  );
  return [
    ...[...namespaces].sort().map((namespace) => `import_ns=${namespace}`),
    `kmend=${version()}`,
    `kmend.kernel=${kernel.buildId}`,
    ...change.patches.map(
      ({ name, sha256: digest }) => `kmend.patch=${digest} ${name.replaceAll(/[^\x20-\x7e]/g, "?")}`,
    ),
    ...(options.allowLayout ?? []).map((type) => `kmend.allow-layout=${type.replaceAll(/[^\x20-\x7e]/g, "?")}`),
  ];
}

function notBuiltNotes(units: CompiledUnits): string[] {
  return units.notBuilt.map((path) => `${path} is not built for this kernel`);
}

function unique(refusals: readonly Refusal[]): Refusal[] {
  return [
    ...new Map(refusals.map((refusal) => [`${refusal.code} ${refusal.what} ${refusal.where}`, refusal])).values(),
  ];
}

interface Parts {
  readonly units: CompiledUnits;
  readonly notes: readonly string[];
  readonly refusals?: readonly Refusal[];
  readonly functions?: readonly BuiltFunction[];
  readonly resolved?: readonly ResolvedUnit[];
  readonly module?: BuildResult["module"];
}

function result(session: Session, outcome: BuildResult["outcome"], parts: Parts): BuildResult {
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
    notes: parts.notes,
    milliseconds: { total: Math.round(performance.now() - started), ...progress.milliseconds },
  };
}

async function requireFolder(output: string): Promise<void> {
  const found = await stat(output).catch(() => undefined);
  if (found?.isDirectory() === true) return;
  throw new KmendError({
    code: "OUTPUT_MISSING",
    message: found === undefined ? `the output folder ${output} does not exist` : `${output} is not a folder`,
    hint: found === undefined ? `make it first: mkdir -p ${output}` : "give a folder with -o DIR",
    exitCode: ExitCode.usage,
  });
}

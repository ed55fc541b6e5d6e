import { mkdir, readFile, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import type { ChangeSet } from "../change/change-set.ts";
import { sameLines } from "../change/kept-lines.ts";
import { ownTextChanged } from "../change/own-text.ts";
import { applyPatches, readPatchFile } from "../change/patch-files.ts";
import { mayChangeTypes } from "../change/type-change.ts";
import { rethrowDiskErrors, sweepTemporaries, temporaryBeside } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { requireOutputFolder } from "../support/output-folder.ts";
import { type Progress, SilentProgress } from "../support/progress.ts";
import type { Refusal } from "../support/refusals.ts";
import {
  type CompilerComparison,
  compareCompiler,
  compareWithComment,
  requireSameCompiler,
  toolchainFolder,
} from "../target/compiler.ts";
import { requireModuleOf } from "../target/external-module.ts";
import type { FindOptions } from "../target/find.ts";
import { readSymvers } from "../target/symvers.ts";
import { foldersLeftOut, includeGraph } from "../tree/include-graph.ts";
import { occupyTree } from "../tree/prepare.ts";
import { type ForeseenQuestion, foreseeQuestion } from "./ask-kbuild.ts";
import { type AssemblyRequest, assemble, replacesAll } from "./assemble.ts";
import { removeShadows } from "./build-shadows.ts";
import type { BuildOptions, BuildResult, BuiltFunction } from "./build-types.ts";
import { explainUnproven, KernelTypes, requireKernelTypes } from "./check-layouts.ts";
import { patchesInForce, workOn } from "./earlier-updates.ts";
import { entrySizesOf } from "./entry-sizes.ts";
import { changeIn, externalPlace, type OpenedExternal, openExternal } from "./external.ts";
import { findKernel } from "./find-kernel.ts";
import { checkTypes, isFromElsewhere } from "./foreign-types.ts";
import { definesOthers, judgeDefinitions, newExportsOf, reasonsOfLoss } from "./global-definitions.ts";
import { headersToFollow } from "./headers-to-follow.ts";
import { moduleName } from "./module-name.ts";
import { refuseLost } from "./other-users.ts";
import {
  keptDefinitions,
  newGlobalsOf,
  type PlanFacts,
  planUnit,
  type ResolvedUnit,
  type ResolveFacts,
  refuseDoubleCallbacks,
  resolveUnit,
  type UnitPlan,
} from "./plan.ts";
import { ReadAhead } from "./read-ahead.ts";
import { refusedByText } from "./refused-by-text.ts";
import { describeFunctions } from "./report.ts";
import { settleAmbiguous } from "./settle.ts";
import { sortFiles } from "./sort-files.ts";
import { TargetObjects } from "./target-objects.ts";
import { type ModuleTemplate, moduleTemplate } from "./template.ts";
import { type CompiledUnits, compileUnits } from "./unit-pairs.ts";
import { keptAddresses } from "./warnings/address-kept.ts";
import { findWarnings, type Warning } from "./warnings.ts";
import type { Workshop } from "./workshop.ts";

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
  if (patches.length === 0 && options.change === undefined) {
    throw new KmendError({
      code: "NO_PATCH",
      message: "no patch was given",
      hint: "kmend build fix.patch",
      exitCode: ExitCode.usage,
    });
  }
  const name = moduleName(options.name, options.patches);
  const output = resolve(options.output ?? ".");
  await requireOutputFolder(output);

  const external = options.external === undefined ? undefined : await openExternal(options.external, signal);
  const kernel = options.target ?? (await findKernel({ ...wantedKernel(options, external), progress, signal }));
  if (external !== undefined) requireModuleOf(external, kernel.release, await readSymvers(kernel.symversPath));
  const compiler = await compareCompiler(kernel.image.banner, signal);
  if (options.skipCompilerCheck !== true) requireSameCompiler(compiler);
  else if (!compiler.same)
    progress.note(
      `the compiler is not the kernel's (kernel: ${compiler.kernel}; here: ${compiler.here}): the proof decides`,
    );
  const found = { program: compiler.program, version: compiler.here };
  const folder = temporaryBeside(join(kernel.folder, "build"));
  const tree = await occupyTree(kernel, folder, { compiler: found, jobs: options.jobs, progress, signal });
  // One log per process: another build of the same kernel may be running. It stays when the build fails.
  const logFile = join(kernel.folder, `build-${process.pid}.log`);
  let foreseen: ForeseenQuestion | undefined;
  let known: Promise<ModuleTemplate> | undefined;
  const template = (): Promise<ModuleTemplate> => {
    known ??= progress.phase("template", "Ask Kbuild how it builds modules", () =>
      moduleTemplate(tree, toolchainFolder(kernel.folder, compiler), signal),
    );
    return known;
  };
  try {
    await rm(logFile, { force: true });
    const place =
      external === undefined
        ? { tree, folder: kernel.folder }
        : await externalPlace(external, kernel, tree, progress, signal);
    const compiled = toolchainFolder(place.folder, compiler);
    const bench: Workshop = {
      tree: place.tree,
      ...workOn(options.earlier, compiled),
      folder,
      kernelFolder: place.folder,
      toolchainFolder: compiled,
      maxUnits: options.maxUnits ?? 500,
      jobs: options.jobs ?? availableParallelism(),
      logFile,
      progress,
      signal,
    };
    foreseen = options.change === undefined ? await foreseeQuestion(patches, bench) : undefined;
    const workshop = { ...bench, foreseen };
    await sweepTemporaries(kernel.folder);
    const readChange = options.change ?? ((path, work) => applyPatches(patches, path, work));
    const change = await progress.phase("patch", "Apply the patch", () =>
      changeIn(place.tree, (path) => readChange(path, join(folder, "applied"))),
    );
    const facts = { options, name, output, kernel, compiler, tree, workshop, template, change, external };
    const built = await buildChange({ ...facts, progress, started });
    await rm(logFile, { force: true });
    return built;
  } finally {
    await Promise.allSettled([foreseen?.answer, known]);
    await removeShadows(folder);
    await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }
}

/** The kernel that the options name; an external module knows which one it was built for. */
function wantedKernel(
  { kernel, image, source, archive, rpms }: BuildOptions,
  external: OpenedExternal | undefined,
): Pick<FindOptions, "kernel" | "image" | "source" | "archive" | "rpms"> {
  const isOpen = [kernel, image, source, rpms].every((choice) => choice === undefined);
  return { kernel: isOpen ? external?.release : kernel, image, source, archive, rpms };
}

interface Session extends AssemblyRequest {
  readonly external: OpenedExternal | undefined;
  readonly compiler: CompilerComparison;
  readonly progress: Progress;
  readonly started: number;
}

async function buildChange(session: Session): Promise<BuildResult> {
  const { workshop } = session;
  const examination = (await refusedUncompiled(session)) ?? (await examineAll(session));
  const { units, plans, resolved, refusals, notes, symvers } = examination;
  await tellObjects(session, units);
  if (units.pairs.length === 0) {
    return result(session, refusals.length > 0 ? "refused" : "unchanged", { units, notes, refusals });
  }
  const functions = describeFunctions(plans, resolved);
  if (refusals.length > 0) {
    const explained = await explainUnproven(refusals, units.pairs, examination.types, workshop);
    return result(session, "refused", { units, notes, refusals: explained, functions, resolved });
  }
  if (resolved.every(({ redirections, plan }) => redirections.length + plan.changes.callbacks.length === 0)) {
    return result(session, "unchanged", { units, notes, functions: [] });
  }
  // With earlier updates the source is not the kernel's.
  if (isFromElsewhere(session) && (session.options.earlier?.modules.length ?? 0) === 0) {
    const changed = resolved.map(({ plan }) => plan.pair);
    await requireKernelTypes(changed, examination.types, session.kernel.release, workshop);
  }
  // Nobody looks into the shadows any more, and the linker leaves time to remove their thousands of links.
  const kept = await addressesKept(session, resolved, examination.types);
  const request = { ...session, keptAddresses: kept };
  const [module] = await Promise.all([assemble(request, resolved, symvers), removeShadows(workshop.folder)]);
  return result(session, "built", { units, notes, functions, resolved, module, kept });
}

/** Warnings of addresses that may outlive the module. */
async function addressesKept(
  { kernel }: Session,
  resolved: readonly ResolvedUnit[],
  types: KernelTypes,
): Promise<Warning[]> {
  const objects = new Set(resolved.map(({ plan }) => plan.pair.object));
  const known = new Map(await Promise.all([...objects].map(async (name) => [name, await types.of(name)] as const)));
  return keptAddresses(resolved, {
    hasLockdep: kernel.image.kallsyms.indicesOf("lock_acquire").length > 0,
    typesOf: (object) => known.get(object),
  });
}

async function tellObjects({ options }: Session, { pairs }: CompiledUnits): Promise<void> {
  if (options.onObjects === undefined) return;
  for (const { source: unit, object, originalPath, patchedPath } of pairs) {
    const patched = { kind: "patched", unit, object, content: await readFile(patchedPath) } as const;
    if (originalPath === undefined) options.onObjects([patched]);
    else options.onObjects([{ kind: "original", unit, object, content: await readFile(originalPath) }, patched]);
  }
}

/** All that compiling, comparing and proving tells about a change. */
interface Examination {
  readonly units: CompiledUnits;
  readonly plans: readonly UnitPlan[];
  readonly resolved: readonly ResolvedUnit[];
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
  readonly symvers: ResolveFacts["symvers"];
  readonly types: KernelTypes;
}

async function examineAll(session: Session): Promise<Examination> {
  const followed = await headersToFollow(session.change.files, session.workshop);
  return (await refusedEarly(followed, session)) ?? (await examine(followed, session));
}

/** @returns undefined unless the text of the change alone shows that it is impossible. */
async function refusedUncompiled({ change, workshop, kernel, external }: Session): Promise<Examination | undefined> {
  const refusals = await refusedByText(change.files, workshop);
  if (refusals.length === 0) return undefined;
  const units = { pairs: [], refusals, notes: [], notBuilt: [] };
  const notes = [...change.notes, "nothing was compiled, since the change is refused for what its text says"];
  const types = new KernelTypes(kernel, external);
  return { units, plans: [], resolved: [], refusals, notes, symvers: await readSymvers(kernel.symversPath), types };
}

/**
 * Looks at the touched source files alone when a header of the change may reach many more units: a new layout of a type is refused in seconds then, and
 * not after everything that includes the header has been compiled.
 * @returns undefined when nothing is known yet.
 */
async function refusedEarly(followed: readonly string[], session: Session): Promise<Examination | undefined> {
  const { workshop, change } = session;
  const { sources } = sortFiles(change.files);
  if (followed.length === 0 || sources.length === 0 || !mayChangeTypes(change.files)) return undefined;
  const { tree, kernelFolder, signal } = workshop;
  const graph = await includeGraph(tree.path, kernelFolder, foldersLeftOut(tree.environment), signal);
  const reached = graph.unitsThatMaySee(followed).length;
  if (reached < sources.length + manyUnits) return undefined;
  const folder = join(workshop.folder, "early");
  await mkdir(folder).catch(rethrowDiskErrors);
  const early = await examine([], { ...session, workshop: { ...workshop, folder } });
  if (!early.refusals.some(({ code }) => code === "LAYOUT_CHANGED")) return undefined;
  const others = `${followed.join(", ")}: ${reached} source files may include it; they were not looked at, since the change is refused without them`;
  return { ...early, notes: [...early.notes, others] };
}

/** From how many further source files on a header is worth a look at the touched ones alone. */
const manyUnits = 12;

/** @param followed changed headers whose units are looked at as well. */
async function examine(followed: readonly string[], session: Session): Promise<Examination> {
  const { progress, workshop, kernel, change, external } = session;
  const objects = new TargetObjects(kernel, patchesInForce(session.options.earlier), external);
  const entrySizes = await entrySizesOf(kernel);
  const ahead = new ReadAhead(kernel, objects, entrySizes, external?.symvers);
  const types = new KernelTypes(kernel, external);
  let isAboutTypes: boolean | undefined;
  const units = await compileUnits(change, followed, workshop, (all, known) => {
    ahead.start(all, known);
    session.template().catch(() => {});
    isAboutTypes = mayChangeTypes(change.files);
  });
  const notBuilt = units.notBuilt.map((path) => `${path} is not built for this kernel`);
  const compiledNotes = [...change.notes, ...units.notes, ...notBuilt];
  const symvers = await ahead.symvers();
  if (units.pairs.length === 0) {
    const { refusals } = units;
    return { units, plans: [], resolved: [], refusals, notes: compiledNotes, symvers, types };
  }
  // With earlier updates both objects have lines of their own.
  const isSameLine = workshop.earlier.size === 0 ? sameLines(change.files) : undefined;
  const calls = { throughKernel: !replacesAll(session.options) };
  const [planned, layouts] = await Promise.all([
    progress.phase("diff", "Compare and prove", () =>
      planUnits(units, change.files, objects, ahead, { entrySizes, isSameLine, calls }),
    ),
    checkTypes(units.pairs, { ...session, types, isAboutTypes: isAboutTypes !== false }),
  ]);
  const definitions = judgeDefinitions(planned);
  const { plans } = definitions;
  const changedFiles = change.files.map(({ path }) => path);
  const goneForOthers = await refuseLost(definitions.lost, units.pairs, changedFiles, symvers, workshop);
  const newGlobals = new Map(
    plans.flatMap((plan) => newGlobalsOf(plan).map((symbol) => [symbol, plan.pair.object] as const)),
  );
  const known: ResolveFacts = {
    ...{ symvers, newGlobals, settled: new Map(), compiler: compilerOf(session) },
    ...{ newExports: newExportsOf(plans), lost: reasonsOfLoss(definitions.lost) },
  };
  const facts: ResolveFacts = { ...known, defined: keptDefinitions(plans, known) };
  const changed = plans.filter(({ selection }) => selection.atoms.length > 0);
  let resolved = changed.map((plan) => resolveUnit(plan, facts));
  const ambiguous = resolved.flatMap((unit) => unit.ambiguous);
  if (ambiguous.length > 0) {
    const settled = await progress.phase("settle", "Look into the units that define ambiguous symbols", () =>
      settleAmbiguous(ambiguous, workshop, (object) => objects.open(object)),
    );
    if (settled.size > 0) resolved = changed.map((plan) => resolveUnit(plan, { ...facts, settled }));
  }
  const refusals = unique([
    ...units.refusals,
    ...plans.flatMap(({ changes, selection }) => [...changes.refusals, ...selection.refusals]),
    ...definitions.refusals,
    ...goneForOthers,
    ...refuseDoubleCallbacks(plans),
    ...resolved.flatMap((unit) => unit.refusals),
    // Without code that knows it, a new layout is in nobody's way.
    ...(changed.length > 0 ? layouts.refusals : []),
  ]);
  const notes = [
    ...compiledNotes,
    ...layouts.notes,
    ...plans.flatMap(({ changes }) => changes.notes),
    ...resolved.flatMap((unit) => unit.notes),
  ];
  return { units, plans, resolved, refusals, notes, symvers, types };
}

/** The compiler here against that of what is patched. */
function compilerOf({ compiler, external }: Session): CompilerComparison {
  return external?.compiler === undefined ? compiler : compareWithComment(compiler, external.compiler);
}

/** Diffs and matches all units. */
async function planUnits(
  units: CompiledUnits,
  files: ChangeSet["files"],
  objects: TargetObjects,
  ahead: ReadAhead,
  facts: Omit<PlanFacts, "isTextChanged">,
): Promise<UnitPlan[]> {
  const plans: UnitPlan[] = [];
  for (const pair of units.pairs) {
    const target = await objects.open(pair.object);
    const isTextChanged = ownTextChanged(files, pair.source);
    const plan = await planUnit(pair, target, await ahead.original(pair), { ...facts, isTextChanged });
    // A header reaches many units and changes few of them: the others are not kept in memory.
    if (hasFindings(plan)) plans.push(plan);
  }
  return plans;
}

function hasFindings({ changes, selection, definitions }: UnitPlan): boolean {
  return (
    definesOthers(definitions) ||
    selection.atoms.length +
      changes.functions.size +
      changes.refusals.length +
      selection.refusals.length +
      changes.notes.length >
      0
  );
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
  readonly kept?: readonly Warning[];
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

import { readFile, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { applyPatches, readPatchFile } from "../change/patch-files.ts";
import { compareCompiler, requireSameCompiler, toolchainFolder } from "../kernel/compiler.ts";
import { findTargetKernel } from "../kernel/find.ts";
import { isOpenChoice, type KernelChoice, kernelChoice } from "../kernel/kernel-choice.ts";
import { requireModuleOf } from "../kernel/modules/external-module.ts";
import { readSymvers } from "../kernel/modules/symvers.ts";
import { reserveTree } from "../kernel/tree/prepare.ts";
import { moduleName } from "../patch-module/module-name.ts";
import { sweepTemporaries, temporaryBeside } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { requireOutputFolder } from "../support/output-folder.ts";
import { SilentProgress } from "../support/progress.ts";
import { assemble } from "./assemble/assemble.ts";
import { type ModuleTemplate, moduleTemplate } from "./assemble/kbuild-template.ts";
import type { BuildContext } from "./build-context.ts";
import { resultOf } from "./build-result.ts";
import type { BuildOptions, BuildResult } from "./build-types.ts";
import { explainUnproven, type KernelTypes, requireKernelTypes } from "./check-layouts.ts";
import { examineChange, type Session } from "./examination.ts";
import { changeIn, externalPlace, type OpenedExternal, openExternal } from "./external-module.ts";
import { isFromElsewhere } from "./foreign-types.ts";
import { type ForeseenQuestion, foreseeQuestion } from "./pairs/ask-kbuild.ts";
import { removeShadows } from "./pairs/build-shadows.ts";
import type { CompiledUnits } from "./pairs/unit-pairs.ts";
import { describeFunctions } from "./resolve/describe-functions.ts";
import type { ResolvedUnit } from "./resolve/plan.ts";
import { workOn } from "./stacked-updates.ts";
import { keptAddresses } from "./warnings/address-kept.ts";
import type { Warning } from "./warnings/find-warnings.ts";

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
  const kernel =
    options.target ??
    (await findTargetKernel({ ...wantedKernel(options, external), jobs: options.jobs, progress, signal }));
  if (external !== undefined) requireModuleOf(external, kernel.release, await readSymvers(kernel.symversPath));
  const compiler = await compareCompiler(kernel.image.banner, signal);
  if (options.skipCompilerCheck !== true) requireSameCompiler(compiler);
  else if (!compiler.same)
    progress.note(
      `the compiler is not the kernel's (kernel: ${compiler.kernel}; here: ${compiler.here}): the proof decides`,
    );
  const found = { program: compiler.program, version: compiler.here };
  const folder = temporaryBeside(join(kernel.folder, "build"));
  const tree = await reserveTree(kernel, folder, { compiler: found, jobs: options.jobs, progress, signal });
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
    const bench: BuildContext = {
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
    const context = { ...bench, foreseen };
    await sweepTemporaries(kernel.folder);
    const readChange = options.change ?? ((path, work) => applyPatches(patches, path, work));
    const change = await progress.phase("patch", "Apply the patch", () =>
      changeIn(place.tree, (path) => readChange(path, join(folder, "applied"))),
    );
    const facts = { options, name, output, kernel, compiler, tree, context, template, change, external };
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
function wantedKernel(options: BuildOptions, external: OpenedExternal | undefined): KernelChoice {
  const choice = kernelChoice(options);
  return isOpenChoice(choice) ? { ...choice, kernel: external?.release } : choice;
}

async function buildChange(session: Session): Promise<BuildResult> {
  const { context } = session;
  const examination = await examineChange(session);
  const { units, plans, resolved, refusals, notes, symvers } = examination;
  await tellObjects(session, units);
  if (units.pairs.length === 0) {
    return resultOf(session, refusals.length > 0 ? "refused" : "unchanged", { units, notes, refusals });
  }
  const functions = describeFunctions(plans, resolved);
  if (refusals.length > 0) {
    const explained = await explainUnproven(refusals, units.pairs, examination.types, context);
    return resultOf(session, "refused", { units, notes, refusals: explained, functions, resolved });
  }
  if (resolved.every(({ redirections, plan }) => redirections.length + plan.changes.callbacks.length === 0)) {
    return resultOf(session, "unchanged", { units, notes, functions: [] });
  }
  // With earlier updates the source is not the kernel's.
  if (isFromElsewhere(session) && (session.options.earlier?.modules.length ?? 0) === 0) {
    const changed = resolved.map(({ plan }) => plan.pair);
    await requireKernelTypes(changed, examination.types, session.kernel.release, context);
  }
  // Nobody looks into the shadows any more, and the linker leaves time to remove their thousands of links.
  const kept = await addressesKept(session, resolved, examination.types);
  const request = { ...session, keptAddresses: kept };
  const [module] = await Promise.all([assemble(request, resolved, symvers), removeShadows(context.folder)]);
  return resultOf(session, "built", { units, notes, functions, resolved, module, kept });
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

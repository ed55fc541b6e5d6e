import { rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { applyPatches, readPatchFile } from "../change/patch-files.ts";
import { toolchainFolder } from "../kernel/compiler.ts";
import { findTargetKernel } from "../kernel/find.ts";
import { isOpenChoice, type KernelChoice, kernelChoice } from "../kernel/kernel-choice.ts";
import { requireModuleOf } from "../kernel/modules/external-module.ts";
import { readSymvers } from "../kernel/modules/symvers.ts";
import { chooseCompiler } from "../kernel/roots/kernel-compiler.ts";
import { reserveTree } from "../kernel/tree/prepare.ts";
import { moduleName } from "../patch-module/module-name.ts";
import { sweepTemporaries, temporaryBeside } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { requireOutputFolder } from "../support/output-folder.ts";
import { SilentProgress } from "../support/progress.ts";
import { moduleTemplate } from "./assemble/kbuild-template.ts";
import type { BuildContext } from "./build-context.ts";
import type { BuildOptions } from "./build-types.ts";
import type { Session } from "./examination.ts";
import { changeIn, externalPlace, type OpenedExternal, openExternal } from "./external-module.ts";
import { foreseeQuestion } from "./pairs/ask-kbuild.ts";
import { removeShadows } from "./pairs/build-shadows.ts";
import { anyOf, Prefetch } from "./prefetch.ts";
import { askOnly } from "./repro/questions.ts";
import { workOn } from "./stacked-updates.ts";

/**
 * Takes a build as far as the change is read: finds the kernel, reserves its prepared tree and applies the patches in a private folder, which is gone when the work
 * has ended.
 * @param work what is done with the change.
 * @throws KmendError for everything that keeps it from finding out: a patch that does not apply, a missing kernel, another compiler.
 */
export async function withSession<Result>(
  options: BuildOptions,
  work: (session: Session) => Promise<Result>,
): Promise<Result> {
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
  const target =
    options.target ??
    (await findTargetKernel({ ...wantedKernel(options, external), jobs: options.jobs, progress, signal }));
  if (external !== undefined) requireModuleOf(external, target.release, await readSymvers(target.symversPath));
  const { kernel, compiler } = await chooseCompiler(target, {
    skipCompilerCheck: options.skipCompilerCheck,
    ...{ progress, signal },
  });
  const found = { program: compiler.program, version: compiler.here };
  const folder = temporaryBeside(join(kernel.folder, "build"));
  const tree = await reserveTree(kernel, folder, { compiler: found, jobs: options.jobs, progress, signal });
  // One log per process: another build of the same kernel may be running. It stays when the build fails.
  const logFile = join(kernel.folder, `build-${process.pid}.log`);
  const prefetch = new Prefetch();
  const template = prefetch.of((dropped) =>
    progress.phase("template", "Ask Kbuild how it builds modules", () =>
      moduleTemplate(tree, toolchainFolder(kernel.folder, compiler), anyOf(dropped, signal)),
    ),
  );
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
      prefetch,
    };
    const foreseen = options.change === undefined ? await foreseeQuestion(patches, bench) : undefined;
    const context = { ...bench, foreseen };
    await sweepTemporaries(kernel.folder);
    const readChange = options.change ?? ((path, work) => applyPatches(patches, path, work));
    const change = await progress.phase("patch", "Apply the patch", () =>
      changeIn(place.tree, (path) => readChange(path, join(folder, "applied"))),
    );
    const facts = { options, name, output, kernel, compiler, kernelTree: tree, context, template, change, external };
    const result = await work({ ...facts, progress, started, questions: askOnly });
    await rm(logFile, { force: true });
    return result;
  } finally {
    await prefetch.stop();
    await removeShadows(folder);
    await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }
}

/** The kernel that the options name; an external module knows which one it was built for. */
function wantedKernel(options: BuildOptions, external: OpenedExternal | undefined): KernelChoice {
  const choice = kernelChoice(options);
  return isOpenChoice(choice) ? { ...choice, kernel: external?.release } : choice;
}

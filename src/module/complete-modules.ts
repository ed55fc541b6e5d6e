import { readdir, readFile, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import type { SourceOverlay } from "../change/change-set.ts";
import { temporaryBeside } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { type Progress, SilentProgress } from "../support/progress.ts";
import { run } from "../support/run.ts";
import { compareCompiler } from "../target/compiler.ts";
import type { TargetKernel } from "../target/find.ts";
import { ShippedModules } from "../target/shipped-module.ts";
import { plainEnvironment } from "../tree/kbuild.ts";
import { prepareTree } from "../tree/prepare.ts";
import { createShadow } from "../tree/shadow.ts";

/**
 * Builds complete new kernel modules with changed source files, for replacing those in the file system: they work like the shipped ones and are no patch
 * modules. Kbuild makes them as it makes external modules, in a shadow of the prepared tree, with the checksums of the kernel's own exports.
 * @param changed content of all files that differ from the prepared source.
 * @param units units of the patch; those of vmlinux are left out.
 * @returns content of `.ko` files by module.
 * @throws KmendError `MODULE_BUILD_FAILED`
 */
export async function buildCompleteModules(
  kernel: TargetKernel,
  changed: SourceOverlay,
  units: readonly { readonly object: string }[],
  options: {
    readonly jobs?: number | undefined;
    readonly progress?: Progress | undefined;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<Map<string, Uint8Array>> {
  const { signal, jobs = availableParallelism() } = options;
  const progress = options.progress ?? new SilentProgress();
  const names = [...new Set(units.map(({ object }) => object))].filter((object) => object !== "vmlinux").sort();
  const built = new Map<string, Uint8Array>();
  if (names.length === 0) return built;
  const { program } = await compareCompiler(kernel.image.banner, signal);
  const tree = await prepareTree(kernel, { compiler: program, jobs, progress, signal });
  const shipped = await ShippedModules.open(kernel.modulesDir);
  for (const name of names) {
    const modfile = shipped.find(name)?.modfile;
    if (modfile === undefined) continue;
    const folder = dirname(modfile);
    const shadow = temporaryBeside(join(kernel.folder, "modules"));
    const content = await progress.phase(`module ${name}`, `Build the whole module ${name}`, async () => {
      try {
        const below = await readdir(join(tree.path, folder), { recursive: true, withFileTypes: true });
        const folders = below
          .filter((entry) => entry.isDirectory())
          .map((entry) => join(entry.parentPath, entry.name).slice(tree.path.length + 1));
        createShadow(tree.path, shadow, changed, [folder, ...folders]);
        const result = await run("make", [...tree.makeArguments, `-j${jobs}`, `M=${folder}`, "modules"], {
          cwd: shadow,
          env: plainEnvironment(),
          cleanEnv: true,
          allowFailure: true,
          signal,
        });
        signal?.throwIfAborted();
        if (result.exitCode !== 0) throw buildFailed(name, result.all);
        return await readFile(join(shadow, `${modfile}.ko`));
      } finally {
        await rm(shadow, { recursive: true, force: true });
      }
    });
    built.set(name, content);
  }
  return built;
}

function buildFailed(name: string, output: string): KmendError {
  return new KmendError({
    code: "MODULE_BUILD_FAILED",
    message: `the whole module ${name} cannot be built with the change`,
    why: output.trimEnd().split("\n").slice(-15).join("\n"),
    hint: "leave out --build-modules; the update itself does not need it",
    exitCode: ExitCode.failure,
  });
}

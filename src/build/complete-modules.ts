import { readFile, rm, symlink, unlink, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename, dirname, join } from "node:path";
import type { SourceOverlay } from "../change/change-set.ts";
import { compareCompiler } from "../kernel/compiler.ts";
import { ShippedModules } from "../kernel/modules/shipped-module.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import { plainEnvironment } from "../kernel/tree/kbuild.ts";
import { prepareTree } from "../kernel/tree/prepare.ts";
import { createShadow } from "../kernel/tree/shadow.ts";
import { temporaryBeside } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { entriesBelow } from "../support/find-files.ts";
import { type Progress, SilentProgress } from "../support/progress.ts";
import { run } from "../support/run.ts";

/**
 * Builds complete new kernel modules with changed source files, for replacing those in the file system: they work like the shipped ones and are no patch
 * modules. Kbuild makes them as it makes external modules, in a shadow of the prepared tree, with the checksums of the kernel's own exports, and marked as
 * modules of the kernel's tree. They are not signed, and have no BTF.
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
        const below = await entriesBelow(join(tree.path, folder));
        const folders = below
          .filter((entry) => entry.isDirectory())
          .map((entry) => join(entry.parentPath, entry.name).slice(tree.path.length + 1));
        createShadow(tree.path, shadow, changed, [folder, ...folders, dirname(modpost)]);
        await markAsInTree(tree.path, shadow, modfile);
        const goals = [`-j${jobs}`, `M=${folder}`, `${basename(modfile)}.ko`];
        const result = await run("make", [...withoutPlace(tree.makeArguments, shadow), ...goals], {
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

/**
 * Leaves the place of the build out of debug information, and so out of the build id: the same source gives the same bytes. Of two settings on the command
 * line make takes the last, so the user's flags are in it.
 */
function withoutPlace(makeArguments: readonly string[], folder: string): string[] {
  const settings = ["KCFLAGS", "KAFLAGS"].map((name) => {
    const given = makeArguments.findLast((word) => word.startsWith(`${name}=`)) ?? `${name}=`;
    return `${given} -fdebug-prefix-map=${folder}=.`;
  });
  return [...makeArguments, ...settings];
}

/** The program that writes what a module says about itself (scripts/mod/modpost.c). */
const modpost = "scripts/mod/modpost";

/**
 * Lets modpost, which since 6.13 runs in the module's folder and before in the tree, write `intree=Y`, which it leaves out for external modules, and without which the kernel is tainted (`check_modinfo` of kernel/module). It
 * cannot be told otherwise that a module is not external: it then takes the exports of the module in Module.symvers for a second set of the same.
 */
async function markAsInTree(tree: string, shadow: string, modfile: string): Promise<void> {
  const program = join(shadow, modpost);
  const script = `#!/bin/sh
"$0.own" "$@" || exit
for file in '${modfile}.mod.c' '${basename(modfile)}.mod.c'; do
  test ! -e "$file" || grep -q 'MODULE_INFO(intree' "$file" || echo 'MODULE_INFO(intree, "Y");' >>"$file"
done
`;
  await unlink(program);
  await symlink(join(tree, modpost), `${program}.own`);
  await writeFile(program, script, { mode: 0o755 });
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

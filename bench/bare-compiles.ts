import { copyFile, mkdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { moduleTemplate, recordedStep } from "../src/build/assemble/kbuild-template.ts";
import { applyPatches, readPatchFile } from "../src/change/patch-files.ts";
import { compareCompiler, toolchainFolder } from "../src/kernel/compiler.ts";
import type { TargetKernel } from "../src/kernel/target-kernel.ts";
import { compileUnit, UnitCache } from "../src/kernel/tree/compile.ts";
import { plainEnvironment } from "../src/kernel/tree/kbuild.ts";
import { type PreparedTree, prepareTree } from "../src/kernel/tree/prepare.ts";
import { createShadow, foldersOf } from "../src/kernel/tree/shadow.ts";
import { KmendError } from "../src/support/errors.ts";
import { mapConcurrently, run } from "../src/support/run.ts";

/**
 * Runs the recorded compile commands of a patch that was built before and nothing else: each touched unit without and with the patch, and the glue,
 * on all cores.
 * @param folder a path that does not exist yet.
 * @returns wall time in milliseconds.
 */
export async function bareCompiles(kernel: TargetKernel, patchFile: string, folder: string): Promise<number> {
  const compiler = await compareCompiler(kernel.image.banner);
  const tree = await prepareTree(kernel, { compiler: compiler.program });
  await mkdir(folder);
  const change = await applyPatches([await readPatchFile(patchFile)], tree.path, join(folder, "applied"));
  const toolchain = toolchainFolder(kernel.folder, compiler);
  const cache = new UnitCache(toolchain);
  const units = await Promise.all(
    change.files.map(async ({ path }) => {
      const command = await cache.command(path);
      if (command === undefined) throw notBuilt(path);
      return command;
    }),
  );
  const folders = units.flatMap(({ object }) => foldersOf(object));
  const original = join(folder, "original");
  const patched = join(folder, "patched");
  createShadow(tree.path, original, new Map(), folders);
  createShadow(tree.path, patched, new Map(change.files.map((file) => [file.path, file.patched])), folders);
  const logFile = join(folder, "log");
  const glue = await glueCommand(tree, toolchain, folder);
  const jobs: (() => Promise<unknown>)[] = [
    ...units.flatMap((unit) => [original, patched].map((at) => () => compileUnit(unit, at, { logFile }))),
    () => run("sh", ["-c", glue], { cwd: tree.path, env: plainEnvironment(), cleanEnv: true }),
  ];
  const started = performance.now();
  await mapConcurrently(jobs, availableParallelism(), (job) => job());
  return performance.now() - started;
}

/** The command that compiled the glue, with its output in `folder`. */
async function glueCommand(tree: PreparedTree, toolchain: string, folder: string): Promise<string> {
  const kept = dirname((await moduleTemplate(tree, toolchain)).glue);
  const { commandFor } = await recordedStep(kept, ".kmend-glue.o.cmd");
  const at = join(folder, "glue");
  await mkdir(at);
  await copyFile(join(kept, "kmend-glue.c"), join(at, "kmend-glue.c"));
  return commandFor(at, "kmend-template");
}

function notBuilt(path: string): KmendError {
  return new KmendError({
    code: "BENCHMARK_FAILED",
    message: "a unit has no recorded compile command",
    where: path,
    hint: "build the patch with kmend first",
  });
}

import { mkdir, readdir, readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { applyPatches, readPatchFile } from "../src/change/patch-files.ts";
import { mapConcurrently, run } from "../src/support/run.ts";
import { compareCompiler, toolchainFolder } from "../src/target/compiler.ts";
import type { TargetKernel } from "../src/target/find.ts";
import { compileUnit, UnitCache } from "../src/tree/compile.ts";
import { plainEnvironment } from "../src/tree/kbuild.ts";
import { prepareTree } from "../src/tree/prepare.ts";
import { createShadow, foldersOf } from "../src/tree/shadow.ts";

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
  const cache = new UnitCache(toolchainFolder(kernel.folder, compiler));
  const units = await Promise.all(
    change.files.map(async ({ path }) => {
      const command = await cache.command(path);
      if (command === undefined) throw new Error(`${path} has not been built before`);
      return command;
    }),
  );
  const folders = units.flatMap(({ object }) => foldersOf(object));
  const original = join(folder, "original");
  const patched = join(folder, "patched");
  createShadow(tree.path, original, new Map(), folders);
  createShadow(tree.path, patched, new Map(change.files.map((file) => [file.path, file.patched])), folders);
  const logFile = join(folder, "log");
  const glue = await glueCommand(kernel.folder, folder);
  const jobs: (() => Promise<unknown>)[] = [
    ...units.flatMap((unit) => [original, patched].map((at) => () => compileUnit(unit, at, { logFile }))),
    () => run("sh", ["-c", glue], { cwd: tree.path, env: plainEnvironment(), cleanEnv: true }),
  ];
  const started = performance.now();
  await mapConcurrently(jobs, availableParallelism(), (job) => job());
  return performance.now() - started;
}

/** The command that compiled the glue, with its output in `folder`. */
async function glueCommand(kernelFolder: string, folder: string): Promise<string> {
  const names = (await readdir(kernelFolder)).filter((name) => name.startsWith("template-"));
  for (const name of names) {
    const text = await readFile(join(kernelFolder, name, ".kmend-glue.o.cmd"), "utf8").catch(() => "");
    const line = text.slice(0, text.indexOf("\n"));
    const command = line
      .slice(line.indexOf(":=") + 2)
      .replaceAll("$$", "$")
      .replaceAll("$(pound)", "#");
    const built = /\S+(?=\/kmend-glue\.c\b)/.exec(command)?.[0];
    if (built === undefined) continue;
    // The folder that it was built in is gone: it was renamed when it was done.
    const at = join(folder, "glue");
    await mkdir(dirname(join(at, "x")), { recursive: true });
    return command.replaceAll(`${built}/kmend-glue.c`, join(kernelFolder, name, "kmend-glue.c")).replaceAll(built, at);
  }
  throw new Error("no patch module has been built for this kernel before");
}

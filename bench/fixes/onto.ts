import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { formatPatch, parsePatch, reversePatch } from "diff";
import { toolchainFolder } from "../../src/kernel/compiler.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import type { KernelChoice } from "../../src/kernel/kernel-choice.ts";
import { chooseCompiler } from "../../src/kernel/roots/kernel-compiler.ts";
import { UnitCache } from "../../src/kernel/tree/compile.ts";
import { type PreparedTree, prepareTree } from "../../src/kernel/tree/prepare.ts";
import type { Progress } from "../../src/support/progress.ts";
import { mapConcurrently, run } from "../../src/support/run.ts";
import { builtSources, type Corpus, type Fix } from "./corpus.ts";
import type { Session } from "./session.ts";

/**
 * Takes the fixes of a session to another kernel. A later series has most of them: there each is a patch that takes the fix back, which the build cannot tell from
 * one that brings it. Fixes whose text is not in that kernel's source, to the letter, are left out.
 * @param folder gets the reversed patches.
 */
export async function openOnto(session: Session, choice: KernelChoice, progress: Progress): Promise<Session> {
  const target = await findTargetKernel({ ...choice, progress });
  const { kernel, compiler } = await chooseCompiler(target, { progress });
  const tree = await prepareTree(kernel, {
    compiler: { program: compiler.program, version: compiler.here },
    progress,
  });
  const folder = join(session.folder, `onto-${kernel.release}`);
  await mkdir(join(folder, "reversed"), { recursive: true });
  const corpus = await reversed(session.corpus, tree, kernel.folder, folder);
  return { ...session, kernel, tree, corpus, folder, cache: new UnitCache(toolchainFolder(kernel.folder, compiler)) };
}

async function reversed(corpus: Corpus, tree: PreparedTree, kernelFolder: string, folder: string): Promise<Corpus> {
  const turned = await mapConcurrently(corpus.fixes, 4, async (fix): Promise<Fix[]> => {
    const patch = join(folder, "reversed", `${fix.id.replaceAll("/", "__")}.patch`);
    const text = await readFile(fix.patch, "latin1");
    await writeFile(patch, formatPatch(parsePatch(text).map((one) => reversePatch(one))), "latin1");
    const words = ["-p1", "--dry-run", "--fuzz=0", "--silent", "--force", `--input=${patch}`];
    const { exitCode } = await run("patch", words, { cwd: tree.path, allowFailure: true });
    return exitCode === 0 ? [{ ...fix, patch }] : [];
  });
  const fixes = turned.flat();
  const paths = [...new Set(fixes.map(({ path }) => path))];
  const isBuilt = await builtSources(paths, tree, kernelFolder, folder);
  const patches = new Map(fixes.filter(({ id, path }) => id === path).map(({ path, patch }) => [path, patch]));
  return {
    fixes: fixes.filter(({ path }) => isBuilt(path)),
    notBuilt: paths.filter((path) => !isBuilt(path)),
    patches,
  };
}

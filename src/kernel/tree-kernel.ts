import { readdir, readFile, realpath } from "node:fs/promises";
import { release as runningRelease } from "node:os";
import { dirname, join, resolve } from "node:path";
import { exists, sha256, writeFileAtomically } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { isInUse, keepRecent, retireFolder } from "../support/kept-folders.ts";
import type { Progress } from "../support/progress.ts";
import { run } from "../support/run.ts";
import { KernelImage } from "./image/kernel-image.ts";
import { requireSameConfig } from "./image/same-config.ts";
import type { KernelSource } from "./sources/distribution/distribution.ts";
import {
  type CompanionFiles,
  describeVersion,
  findCompanions,
  findConfig,
  findImage,
  readTreeVersion,
  requireSameVersion,
  type SourceTreeRequest,
} from "./sources/source-tree.ts";
import { readTreeState, type TreeState } from "./sources/tree-state.ts";
import type { FindOptions, TargetKernel } from "./target-kernel.ts";
import { buildImage } from "./tree/build-image.ts";

/** What a kernel from a tree of the user's has in the place of a distribution's name. */
export const sourceTree = "source tree";

/**
 * The kernel of a source tree of the user's. The tree is only read: what is made of it lies in a folder of the cache for its present state, so that it
 * is copied and prepared once for each state.
 * @throws KmendError of {@link readTreeVersion}, {@link findImage}, {@link requireSameVersion}, {@link findCompanions}, {@link requireSameConfig}.
 */
export async function findInTree(
  source: NonNullable<FindOptions["source"]>,
  options: FindOptions,
  cache: string,
  progress: Progress,
): Promise<TargetKernel> {
  const { signal } = options;
  if (options.kernel === "newest") throw newestOfTree();
  const request: SourceTreeRequest = {
    ...source,
    path: await realpath(source.path).catch(() => resolve(source.path)),
    image: options.image,
    kernel: options.kernel,
  };
  const { path } = request;
  const version = await readTreeVersion(path);
  const states = join(cache, "trees", sha256(path).slice(0, 16));
  if (!(await exists(join(states, pathFile)))) await writeFileAtomically(join(states, pathFile), path);
  const found = await findImage(request, version, runningRelease());
  const state = await progress.phase("state", "Read the state of the source tree", () => readTreeState(path, signal));
  const tree: KernelSource = {
    kind: "tree",
    path,
    files: state.files,
    isUnchanged: async () => (await readTreeState(path, signal)).digest === state.digest,
  };
  const built = found === undefined ? await build(request, tree, state, states, options, progress) : undefined;
  const imagePath = found ?? (built as { imagePath: string }).imagePath;
  const image = await progress.phase("image", "Open the kernel image", () =>
    KernelImage.open(imagePath, cache, signal),
  );
  const { release } = image.banner;
  requireSameVersion(path, version, imagePath, image.banner);
  const companions = built ?? (await findCompanions(request, imagePath, release));
  if (built === undefined) await requireSameConfig(companions.configPath, image);
  const contents = [companions.configPath, companions.symversPath].map((file) => readFile(file));
  const { makeFlags = [] } = request;
  const key = sha256(state.digest, image.buildId, ...(await Promise.all(contents)), ...flagsKey(makeFlags)).slice(
    0,
    16,
  );
  const folder = join(states, "kernels", key);
  await keepState(folder);
  return {
    ...companions,
    makeFlags,
    release,
    packageVersion: describeVersion(version),
    imagePath,
    source: async () => tree,
    distribution: sourceTree,
    image,
    buildId: image.buildId,
    folder,
  };
}

async function build(
  request: SourceTreeRequest,
  source: KernelSource,
  state: TreeState,
  states: string,
  { makeImage = buildImage, jobs, signal }: FindOptions,
  progress: Progress,
): Promise<CompanionFiles & { imagePath: string }> {
  const { path } = request;
  const configPath = await findConfig(request, []);
  if (makeImage === false) throw noImage(path);
  const { makeFlags = [] } = request;
  if (request.symvers !== undefined)
    progress.note(`--symvers ${request.symvers} is not used: the kernel is built, and its exports with it`);
  const compiler = await compilerVersion(makeFlags, signal);
  const key = sha256(state.digest, await readFile(configPath), compiler, ...flagsKey(makeFlags)).slice(0, 16);
  const folder = join(states, "images", key);
  await keepState(folder);
  return makeImage({ source, configPath, folder, makeFlags, jobs, progress, signal });
}

/** What the compiler that make will call says about itself: CC and LLVM as its arguments may have them (Documentation/kbuild/llvm.rst). */
async function compilerVersion(makeFlags: readonly string[], signal: AbortSignal | undefined): Promise<string> {
  const named = makeFlags.flatMap((flag) => /^CC=(.+)$/.exec(flag)?.[1] ?? []).at(-1);
  const llvm = makeFlags.flatMap((flag) => /^LLVM=(.+)$/.exec(flag)?.[1] ?? []).at(-1);
  const other = llvm === undefined ? "gcc" : llvm.startsWith("-") ? `clang${llvm}` : "clang";
  const { stdout } = await run("sh", ["-c", `${named ?? other} --version`], { signal, allowFailure: true });
  return stdout;
}

/** Other flags make other objects. */
function flagsKey(flags: readonly string[]): string[] {
  return flags.flatMap((flag) => ["\0", flag]);
}

function noImage(path: string): KmendError {
  return new KmendError({
    code: "IMAGE_MISSING",
    message: "there is no kernel image of this source tree",
    where: path,
    why: "neither the tree nor /boot has one",
    hint: "give the vmlinuz or vmlinux that was built from this tree with --image FILE",
    exitCode: ExitCode.usage,
  });
}

function newestOfTree(): KmendError {
  return new KmendError({
    code: "USAGE",
    message: "a source tree has no newest kernel",
    hint: "leave --kernel out, or give the release whose installed image was built from the tree",
    exitCode: ExitCode.usage,
  });
}

/** Name of the file in a tree's part of the cache that tells which tree it is. */
const pathFile = "path";

/** Removes what the cache keeps of trees that are not there any more. */
async function forgetLostTrees(trees: string): Promise<void> {
  for (const name of await readdir(trees).catch(() => [] as string[])) {
    const folder = join(trees, name);
    const path = await readFile(join(folder, pathFile), "utf8").catch(() => "");
    if (path === "" || (await exists(path))) continue;
    const states = await Promise.all(
      ["kernels", "images"].map(async (kind) =>
        (await readdir(join(folder, kind)).catch(() => [] as string[])).map((state) => join(folder, kind, state)),
      ),
    );
    if (!(await Promise.all(states.flat().map(isInUse))).includes(true)) await retireFolder(folder);
  }
}

async function keepState(folder: string): Promise<void> {
  if (await keepRecent(folder)) await forgetLostTrees(dirname(dirname(dirname(folder))));
}

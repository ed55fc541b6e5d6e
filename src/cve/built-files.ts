import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { isOutsideKernel } from "../change/outside-kernel.ts";
import { toolchainFolder } from "../kernel/compiler.ts";
import { chooseCompiler } from "../kernel/roots/kernel-compiler.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import { foldersLeftOut, includeGraph } from "../kernel/tree/include-graph.ts";
import { type PreparedTree, reserveTree } from "../kernel/tree/prepare.ts";
import { membershipOf } from "../kernel/tree/units.ts";
import { cacheRoot, exists, rethrowDiskErrors, temporaryBeside, writeFileAtomically } from "../support/cache.ts";
import { KmendError } from "../support/errors.ts";
import { makeFolder } from "../support/make-folder.ts";
import { type Progress, SilentProgress } from "../support/progress.ts";
import { mapConcurrently } from "../support/run.ts";

/** How a question about a kernel's configuration is carried out. */
export interface BuiltFilesOptions {
  /** As for the build that follows, so that both use the same tree. */
  readonly skipCompilerCheck?: boolean | undefined;
  readonly jobs?: number | undefined;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/** How many of the units that may see a header are asked about; more than that, and one of them is built. */
const askedUnits = 400;

/**
 * Which of some source files become part of a kernel, by Kbuild's word; a header does when a unit that may include it does. Files that it knows nothing of
 * (tables that a generator reads, a Makefile) count as part of it, and so do those that this source does not have: records name files as mainline does,
 * and an older series may have the same code under another name.
 * @returns those files that do not.
 */
export async function filesNotBuilt(
  kernel: TargetKernel,
  files: readonly string[],
  options: BuiltFilesOptions,
): Promise<ReadonlySet<string>> {
  const { progress, signal } = options;
  const found = await withTree(kernel, options, ({ tree, folder, toolchain }) =>
    progress.phase("configuration", "Ask Kbuild which files are built", async () => {
      const kept = join(toolchain, "lists");
      const question = { environment: tree.environment, at: tree.path, scratch: folder, kept };
      const all = [...new Set(files)];
      const outside = all.filter((path) => isOutsideKernel(path) || isOfOtherMachine(path));
      const isThere = await mapConcurrently(all, 32, (path) => exists(join(tree.path, path)));
      const inside = all.filter((path, index) => isThere[index] && !outside.includes(path));
      const headers = inside.filter((path) => path.endsWith(".h"));
      const graph = await includeGraph(tree.path, kernel.folder, foldersLeftOut(tree.environment), signal);
      const seeing = new Map(headers.map((header) => [header, graph.unitsThatMaySee([header]).filter(isHere)]));
      const few = [...seeing].filter(([, units]) => units.length <= askedUnits);
      const units = inside.filter((path) => /\.[cS]$/.test(path));
      const asked = [...new Set([...units, ...few.flatMap(([, list]) => list)])];
      const members = await membershipOf(question, asked);
      const isBuilt = (unit: string): boolean => members.get(unit)?.kind !== "not-built";
      // A C file that another includes is what a header is.
      const included = units.filter((unit) => !isBuilt(unit));
      const byOthers = new Map(
        included.map((unit) => [unit, graph.unitsThatMaySee([unit]).filter((path) => path !== unit)]),
      );
      const others = await membershipOf(question, [...new Set([...byOthers.values()].flat())].slice(0, askedUnits));
      return new Set([
        ...outside,
        ...few.filter(([, list]) => !list.some(isBuilt)).map(([header]) => header),
        ...included.filter(
          (unit) => !(byOthers.get(unit) ?? []).some((path) => others.get(path)?.kind !== "not-built"),
        ),
      ]);
    }),
  );
  await remember(kernel.folder, files, found);
  return found;
}

/** Adds what was found to what earlier questions about other files did. */
async function remember(folder: string, asked: readonly string[], found: ReadonlySet<string>): Promise<void> {
  const now = new Set(asked);
  const before = [...((await readRemembered(folder)) ?? [])].filter((path) => !now.has(path));
  const text = [...new Set([...before, ...found])].sort().join("\n");
  await writeFileAtomically(rememberedIn(folder), text).catch(rethrowDiskErrors);
}

/**
 * What {@link filesNotBuilt} has found for the kernel with this build id, for a host that has neither its source nor a compiler at hand.
 * @returns undefined when it was never asked there.
 */
export async function knownNotBuilt(buildId: string): Promise<ReadonlySet<string> | undefined> {
  return readRemembered(join(cacheRoot(), "kernels", buildId));
}

async function readRemembered(folder: string): Promise<ReadonlySet<string> | undefined> {
  const text = await readFile(rememberedIn(folder), "utf8").catch(() => undefined);
  return text === undefined ? undefined : new Set(text.split("\n").filter((path) => path !== ""));
}

function rememberedIn(folder: string): string {
  return join(folder, "cve-files-not-built.txt");
}

/** A kernel's prepared tree, as long as somebody works with it. */
export interface OpenTree {
  readonly tree: PreparedTree;
  /** A private folder. */
  readonly folder: string;
  /** Folder of the cache for what this compiler made of the tree. */
  readonly toolchain: string;
}

/** Prepares the tree of a kernel, and keeps it until the work is done. */
export async function withTree<Result>(
  target: TargetKernel,
  { skipCompilerCheck, jobs, progress, signal }: BuiltFilesOptions,
  work: (open: OpenTree) => Promise<Result>,
): Promise<Result> {
  const { kernel, compiler } = await chooseCompiler(target, { skipCompilerCheck, progress, signal }).catch(
    (error: unknown) => {
      // What is built is the same with any compiler; a build tells of this itself.
      if (!(error instanceof KmendError) || error.code !== "COMPILER_DIFFERS") throw error;
      return chooseCompiler(target, { skipCompilerCheck: true, progress: new SilentProgress(), signal });
    },
  );
  const folder = temporaryBeside(join(kernel.folder, "cves"));
  const found = { program: compiler.program, version: compiler.here };
  const tree = await reserveTree(kernel, folder, { compiler: found, jobs, progress, signal });
  try {
    await makeFolder(folder);
    return await work({ tree, folder, toolchain: toolchainFolder(kernel.folder, compiler) });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function isHere(path: string): boolean {
  return !isOfOtherMachine(path);
}

/** Folders below `arch` of the machines that kmend makes patch modules for. */
const ownArchitecture = "x86";

function isOfOtherMachine(path: string): boolean {
  const machine = /^arch\/([^/]+)\//.exec(path)?.[1];
  return machine !== undefined && machine !== ownArchitecture;
}

import { copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { exists, otherUsers, rethrowDiskErrors, withLock, writeFileAtomically } from "../../support/cache.ts";
import { requireTrustedFolder } from "../../support/cache-trust.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { type Progress, SilentProgress } from "../../support/progress.ts";
import { run } from "../../support/run.ts";
import { acquireSource, type TreeSource } from "../sources/fetch-source.ts";
import { type MakeOptions, makeInTree, waitForGuarded } from "./guard.ts";
import { environmentReporter, type KbuildEnvironment, recordEnvironment } from "./kbuild.ts";
import { restoreRustOptions } from "./rust-options.ts";

/** What a tree is prepared from. A target kernel has all of it. */
export interface TreeInputs {
  readonly release: string;
  readonly configPath: string;
  readonly symversPath: string;
  /** Folder of the cache for this kernel build; the tree is made in it. */
  readonly folder: string;
  /** Further arguments of every `make`; kernels with other ones have other folders. */
  readonly makeFlags?: readonly string[] | undefined;
  readonly source: () => Promise<TreeSource>;
}

/** A configured kernel source tree in which single objects and external modules can be built. Nobody may write into it. */
export interface PreparedTree {
  readonly path: string;
  readonly release: string;
  /** Arguments of every `make` in this tree: release and compiler. */
  readonly makeArguments: readonly string[];
  readonly environment: KbuildEnvironment;
}

export interface PrepareOptions {
  /** Compiler program, with what it says of its version where that is known; default `gcc`. Another one, or another version of it, makes another tree. */
  readonly compiler?: Compiler | string | undefined;
  /** Jobs at once; default all cores. */
  readonly jobs?: number | undefined;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A compiler that is there. */
export interface Compiler {
  readonly program: string;
  /** First line of `--version`. */
  readonly version: string;
}

/** What is known of a finished tree; its file is written last and says that the tree is whole. */
interface Finished {
  readonly format: number;
  readonly path: string;
  readonly release: string;
  readonly compiler: Compiler;
  readonly environment: KbuildEnvironment;
}

/**
 * What modules_prepare makes besides, and no compilation needs: the program that writes BTF identifiers into a linked vmlinux takes a third of the processor time
 * that preparing takes. `make -o` counts it as made.
 */
const unneeded = ["tools/bpf/resolve_btfids"];

/** Bump when trees of an older kmend must be made anew. */
const format = 2;

/**
 * The prepared source tree of a kernel: made on the first call and kept. It is made in its final place, since the kernel's own tools record absolute
 * paths, under a lock; a file beside it is written last, and a tree without this file, left by a killed run, is removed and made again.
 * @throws KmendError `PREPARE_FAILED` with the last lines of the log and its path; errors of the source archive.
 */
export async function prepareTree(inputs: TreeInputs, options: PrepareOptions = {}): Promise<PreparedTree> {
  const progress = options.progress ?? new SilentProgress();
  const { compiler: asked = "gcc" } = options;
  const compiler = typeof asked === "string" ? await identifyCompiler(asked, options.signal) : asked;
  const known = await readFinished(inputs, compiler);
  if (known !== undefined) return known;
  await makeFolder(inputs.folder).catch(rethrowDiskErrors);
  return withLock(
    join(inputs.folder, "tree.lock"),
    async () => (await readFinished(inputs, compiler)) ?? makeTree(inputs, compiler, progress, options),
    {
      onWait: (pid) => progress.note(`process ${pid} is preparing the same kernel tree; waiting for it`),
      signal: options.signal,
    },
  );
}

/**
 * Prepares the tree and makes a private folder beside it, by which other processes know that it is in use: one that needs the tree for another compiler
 * waits until the folder is gone.
 * @param folder a name of {@link temporaryBeside} in the kernel's folder.
 * @throws errors of {@link prepareTree}.
 */
export async function reserveTree(
  inputs: TreeInputs,
  folder: string,
  options: PrepareOptions & { readonly compiler: Compiler },
): Promise<PreparedTree> {
  for (;;) {
    const tree = await prepareTree(inputs, options);
    await makeFolder(folder).catch(rethrowDiskErrors);
    // Whoever came in between has taken the record away before looking for such folders.
    if ((await readFinished(inputs, options.compiler)) !== undefined) return tree;
    await rm(folder, { recursive: true, force: true });
  }
}

/** Returns when no other process works in the tree any more. */
async function waitForBuilds(folder: string, progress: Progress, signal: AbortSignal | undefined): Promise<void> {
  for (let isTold = false; ; isTold = true) {
    const [user] = await otherUsers(folder);
    if (user === undefined) return;
    if (!isTold)
      progress.note(`process ${user} uses the tree as it is for another compiler; waiting until it has ended`);
    await delay(pollMilliseconds, undefined, { signal });
  }
}

/** Between two looks at who uses a tree. */
const pollMilliseconds = 200;

async function identifyCompiler(program: string, signal: AbortSignal | undefined): Promise<Compiler> {
  const { stdout } = await run(program, ["--version"], { signal });
  return { program, version: stdout.split("\n")[0]?.trim() ?? "" };
}

function isSame(a: Compiler, b: Compiler): boolean {
  return a.program === b.program && a.version === b.version;
}

function finishedPath(inputs: TreeInputs): string {
  return join(inputs.folder, "tree.json");
}

async function readFinished(inputs: TreeInputs, compiler: Compiler): Promise<PreparedTree | undefined> {
  const path = join(inputs.folder, "tree");
  const found = await readRecord(inputs, compiler, path);
  // Its programs are run, and so are the recorded commands of units beside it.
  if (found !== undefined) await requireTrustedFolder(inputs.folder, programDepth);
  return found;
}

/** Of `tree/tools/objtool/objtool`, below the kernel's folder. */
const programDepth = 4;

async function readRecord(inputs: TreeInputs, compiler: Compiler, path: string): Promise<PreparedTree | undefined> {
  try {
    const finished = JSON.parse(await readFile(finishedPath(inputs), "utf8")) as Finished;
    // A moved cache is not usable: the tree's own records name the old place.
    const usable = finished.format === format && finished.path === path && isSame(finished.compiler, compiler);
    if (usable && (await exists(path))) return treeOf(finished, inputs.makeFlags);
  } catch {
    // Not there, or half-written by a full disk: the tree is made anew.
  }
  return undefined;
}

function treeOf({ path, release, compiler, environment }: Finished, flags: readonly string[] = []): PreparedTree {
  return { path, release, environment, makeArguments: makeArguments(release, compiler, flags) };
}

function makeArguments(release: string, compiler: Compiler, flags: readonly string[] = []): string[] {
  return [...flags, `KERNELRELEASE=${release}`, `CC=${compiler.program}`];
}

async function makeTree(
  inputs: TreeInputs,
  compiler: Compiler,
  progress: Progress,
  options: PrepareOptions,
): Promise<PreparedTree> {
  const { folder, release } = inputs;
  const { signal } = options;
  const path = join(folder, "tree");
  const log = join(folder, "prepare.log");
  const guard = join(folder, "tree.guard");
  const source = await inputs.source();
  await waitForGuarded(guard, progress, signal);
  await rm(finishedPath(inputs), { force: true });
  await waitForBuilds(folder, progress, signal);
  const title = source.kind === "tree" ? "Copy the kernel source" : "Unpack the kernel source";
  await progress.phase("unpack", title, async () => {
    await rm(path, { recursive: true, force: true });
    await rm(log, { force: true });
    await acquireSource(source, path, guard, signal);
  });
  return progress.phase("prepare", "Prepare the kernel tree", async (status) => {
    await copyFile(inputs.configPath, join(path, ".config")).catch(rethrowDiskErrors);
    const make = async (...goals: string[]): Promise<void> => {
      status(`make ${goals.at(-1)}`);
      await runMake(path, [...makeArguments(release, compiler, inputs.makeFlags), ...goals], { guard, log, signal });
    };
    await make("olddefconfig");
    await requirePatchedSource(inputs.configPath, path, release);
    await make(
      `-j${options.jobs ?? availableParallelism()}`,
      ...unneeded.flatMap((goal) => ["-o", goal]),
      "modules_prepare",
    );
    const rust = await restoreRustOptions(inputs.configPath, path);
    if (rust.length > 0) progress.note(`the tree is prepared without Rust; C code is compiled as with it`);
    await copyFile(inputs.symversPath, join(path, "Module.symvers")).catch(rethrowDiskErrors);
    const reporter = join(folder, "environment.mk");
    await writeFile(reporter, environmentReporter()).catch(rethrowDiskErrors);
    const environment = await recordEnvironment(
      path,
      makeArguments(release, compiler, inputs.makeFlags),
      reporter,
      signal,
    );
    const finished: Finished = { format, path, release, compiler, environment };
    await writeFileAtomically(finishedPath(inputs), JSON.stringify(finished));
    return treeOf(finished, inputs.makeFlags);
  });
}

/**
 * A flavour that is built from patched source has options which the plain source does not know, and `make olddefconfig` drops them: those about preemption
 * tell of the real-time flavours. Where their patches are known they have been applied before.
 * @throws KmendError `SOURCE_WITHOUT_FEATURE`
 */
async function requirePatchedSource(configPath: string, tree: string, release: string): Promise<void> {
  const option = /^CONFIG_\w*PREEMPT\w*=y$/gm;
  const [wanted, got] = await Promise.all([readFile(configPath, "utf8"), readFile(join(tree, ".config"), "utf8")]);
  const known = new Set(got.match(option));
  const lost = (wanted.match(option) ?? []).filter((line) => !known.has(line));
  if (lost.length === 0) return;
  throw new KmendError({
    code: "SOURCE_WITHOUT_FEATURE",
    message: `the source on offer is not the one that ${release} was built from`,
    where: tree,
    why:
      `it does not know ${lost.join(", ")} of the kernel's configuration: ` +
      "real-time kernels are built from source with further patches, which this source does not hold",
    hint: "choose a kernel of another flavour, or give the patched source with --source DIR",
    exitCode: ExitCode.environment,
  });
}

async function runMake(tree: string, goals: readonly string[], options: MakeOptions): Promise<void> {
  const failed = await makeInTree(tree, goals, options);
  if (failed === undefined) return;
  throw new KmendError({
    code: "PREPARE_FAILED",
    message: `the kernel source cannot be prepared: make ${goals.at(-1)} failed`,
    where: tree,
    why: failed.lines.slice(-20).join("\n"),
    hint: `kmend doctor shows whether a build tool is missing; the full log is ${options.log}`,
    exitCode: ExitCode.environment,
    cause: failed.cause,
  });
}

import { join } from "node:path";
import type { SourceOverlay } from "../change/change-set.ts";
import { type GitTree, originalRef } from "../change/git.ts";
import { compareCompiler } from "../kernel/compiler.ts";
import { findTargetKernel } from "../kernel/find.ts";
import { checkSystemMap, type OriginalConfig } from "../kernel/sources/original-config.ts";
import { readTreeState } from "../kernel/sources/tree-state.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import { prepareTree } from "../kernel/tree/prepare.ts";
import { exists, makeOnce, rethrowDiskErrors } from "../support/cache.ts";
import { KmendError } from "../support/errors.ts";
import { makeFolder } from "../support/make-folder.ts";
import type { Progress } from "../support/progress.ts";
import {
  differencesOf,
  keptFiles,
  OriginalMemory,
  type OriginalState,
  overlayOf,
  type SeriesUpdate,
} from "./original-state.ts";

/** Where the original of a change is looked for. */
export interface OriginalRequest {
  /** The user's source tree. */
  readonly tree: string;
  readonly config: OriginalConfig;
  /** The present state becomes the original. */
  readonly series: boolean;
  /** Set when the change is a commit. */
  readonly git: GitTree | undefined;
  /** End of the names of edited copies, which are no part of the original. */
  readonly extension: string | undefined;
  readonly jobs: number | undefined;
  readonly progress: Progress;
  readonly signal: AbortSignal | undefined;
}

/** The source of what runs: the kernel's own, and what updates changed since. */
export interface Original {
  readonly kernel: TargetKernel;
  /** Prepared source of the kernel as it was built. */
  readonly tree: string;
  /** Files that differ from it in what runs now. */
  readonly files: SourceOverlay;
  readonly series: readonly SeriesUpdate[];
  readonly modules: readonly { readonly name: string; readonly content: Uint8Array }[];
  /** The commit of what runs; null unless the change is a commit. */
  readonly commit: string | null;
  /** To be kept when the update was built. */
  readonly state: OriginalState;
  readonly memory: OriginalMemory;
  readonly notes: readonly string[];
}

/**
 * Finds the original of a change, and the kernel that was built from it. The user's tree is only read; of its git repository only `refs/ksplice/pre` is
 * written. What the manual calls the original state is remembered in the cache, since the tree does not change with an update:
 *
 * * the first run takes the tree as it is (with git: the commit of `refs/ksplice/pre`, or HEAD) for the source of the running kernel;
 * * later runs start from the same, whether or not edited copies came in;
 * * with `series`, the update that was built last becomes part of it, or what the tree (or HEAD) has become since. Both builds of a unit then contain the
 *   earlier updates, and the original one is matched against their patch modules.
 *
 * @throws KmendError of {@link findTargetKernel}, {@link prepareTree}; `BAD_SYSTEM_MAP`, `SERIES_LOST`.
 */
export async function findOriginal(request: OriginalRequest): Promise<Original> {
  const memory = await OriginalMemory.of(request.tree);
  const known = await memory.read();
  const kernel =
    known?.config === request.config.digest ? await memory.openKernel(known, request.config.modules) : undefined;
  if (known === undefined || kernel === undefined) {
    if (known !== undefined && request.series && known.last !== null) throw seriesLost(request.tree);
    return fresh(request, memory);
  }
  const moved = request.git === undefined ? await movedTree(request, known, kernel) : await movedCommit(request, known);
  if (moved === undefined) return fresh(request, memory);
  const modules = await memory.modulesOf(moved.series);
  if (modules === undefined) throw seriesLost(request.tree);
  const state = { ...known, ...moved, files: keptFiles(moved.files), last: null };
  return {
    ...{ kernel, memory, modules, state },
    tree: join(kernel.folder, "tree"),
    files: moved.files,
    series: moved.series,
    commit: moved.original,
    notes: [],
  };
}

interface Moved extends Pick<OriginalState, "series" | "tree" | "original"> {
  readonly files: SourceOverlay;
}

/** The original after the tree's files; undefined when they are those of another kernel. */
async function movedTree(
  { tree, series, extension, signal }: OriginalRequest,
  known: OriginalState,
  kernel: TargetKernel,
): Promise<Moved | undefined> {
  const { digest, files } = await readTreeState(tree, signal);
  const remembered = overlayOf(known.files);
  const { last } = known;
  const promoted = series && last !== null;
  const updates = promoted ? [...known.series, last] : known.series;
  const present = { series: updates.map(plain), tree: digest, original: null };
  const ahead = promoted ? new Map([...remembered, ...overlayOf(last.files)]) : remembered;
  if (digest === known.tree) return { ...present, files: ahead };
  const ignored = (path: string): boolean => extension !== undefined && path.endsWith(extension);
  const touched = [...ahead.keys()];
  const differing = await differencesOf(tree, files, join(kernel.folder, "tree"), touched, ignored);
  // A new file that nothing refers to, such as a copy that an editor kept, is no state of the kernel's source.
  const changed = new Map(differing);
  for (const path of await newFiles(differing, ahead, join(kernel.folder, "tree"))) changed.delete(path);
  // The tree is still the kernel's own source, or has become what the updates made of it.
  if (changed.size === 0 || isSame(changed, ahead)) return { ...present, files: ahead };
  if (isSame(changed, remembered)) return { ...present, files: ahead };
  return series ? { ...present, files: differing } : undefined;
}

/** Paths of differing files that neither the kernel's source nor an update has. */
async function newFiles(differing: SourceOverlay, known: SourceOverlay, prepared: string): Promise<string[]> {
  const found: string[] = [];
  for (const path of differing.keys()) if (!known.has(path) && !(await exists(join(prepared, path)))) found.push(path);
  return found;
}

function plain({ id, module, sha256 }: SeriesUpdate): SeriesUpdate {
  return { id, module, sha256 };
}

function isSame(one: SourceOverlay, other: SourceOverlay): boolean {
  if (one.size !== other.size) return false;
  return [...one].every(([path, content]) => {
    const there = other.get(path);
    if (there === undefined) return false;
    return content === null || there === null ? content === there : Buffer.compare(content, there) === 0;
  });
}

/** The original after `refs/ksplice/pre`; undefined when it names another kernel than the remembered one. */
async function movedCommit({ git, series }: OriginalRequest, known: OriginalState): Promise<Moved | undefined> {
  const tree = git as GitTree;
  const pre = await tree.commit(originalRef);
  if (pre === undefined || known.commit === null || (await tree.commit(known.commit)) === undefined) return undefined;
  if (pre !== known.original) return undefined;
  const head = await tree.requireCommit("HEAD");
  const { last } = known;
  const original = series ? (head !== pre ? head : (last?.commit ?? head)) : pre;
  const updates = series && last !== null ? [...known.series, last] : known.series;
  const files = await tree.overlay(known.commit, original);
  return { series: updates.map(plain), tree: known.tree, original, files };
}

/** Takes the present state for the source of the running kernel. */
async function fresh(request: OriginalRequest, memory: OriginalMemory): Promise<Original> {
  const { tree, config, git, series, jobs, progress, signal } = request;
  const head = git === undefined ? null : await git.requireCommit("HEAD");
  const commit = git === undefined ? null : series ? head : ((await git.commit(originalRef)) ?? head);
  const isCheckedOut = git === undefined || (await git.sameFiles(commit as string, head as string));
  const path = isCheckedOut ? tree : await checkedOut(git, commit as string, memory);
  const kernel = await findTargetKernel({
    image: config.image,
    source: {
      path,
      config: config.config,
      symvers: config.symvers,
      modules: config.modules,
      makeFlags: config.makeFlags,
    },
    jobs,
    progress,
    signal,
  });
  const note = await checkSystemMap(config.systemMap, kernel.image);
  const compiler = await compareCompiler(kernel.image.banner, signal);
  const prepared = await prepareTree(kernel, { compiler: compiler.program, jobs, progress, signal });
  // What was remembered stays until there is something better: a wrong --config must not cost the series.
  await memory.forget();
  await memory.keepKernel(kernel);
  const state: OriginalState = {
    schema: 1,
    config: config.digest,
    tree: (await readTreeState(tree, signal)).digest,
    kernel: {
      release: kernel.release,
      packageVersion: kernel.packageVersion,
      buildId: kernel.buildId,
      folder: kernel.folder,
      modulesDir: kernel.modulesDir ?? null,
      makeFlags: config.makeFlags,
    },
    ...{ commit, original: commit, series: [], files: {}, last: null },
  };
  await memory.write(state);
  return {
    ...{ kernel, commit, state, memory },
    tree: prepared.path,
    files: new Map(),
    series: [],
    modules: [],
    notes: note === undefined ? [] : [note],
  };
}

/** The files of a commit that is not the one in the working tree, in a folder of the cache; the user's files stay as they are. */
async function checkedOut(git: GitTree, commit: string, memory: OriginalMemory): Promise<string> {
  return makeOnce(join(memory.folder, "..", "commits", commit), async (temporary) => {
    await makeFolder(temporary).catch(rethrowDiskErrors);
    await git.writeTo(commit, temporary, `${temporary}.tar`);
  });
}

function seriesLost(tree: string): KmendError {
  return new KmendError({
    code: "SERIES_LOST",
    message: "the earlier updates of this source tree are not in the cache any more",
    where: tree,
    why: "an update built on others is matched against their patch modules",
    hint: "make one update of all patches, from the source of the kernel that was booted; --prebuild --series forgets the earlier ones",
  });
}

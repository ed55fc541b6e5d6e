import { statSync } from "node:fs";
import { copyFile, readFile, realpath, rm, utimes } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { SourceOverlay } from "../change/change-set.ts";
import { KernelImage } from "../kernel/image/kernel-image.ts";
import { readTreeState } from "../kernel/sources/tree-state.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import {
  cacheRoot,
  exists,
  type LockWait,
  rethrowDiskErrors,
  sha256,
  withLock,
  writeFileAtomically,
} from "../support/cache.ts";
import { makeFolder } from "../support/make-folder.ts";

/** An update that was built for a tree. */
export interface SeriesUpdate {
  readonly id: string;
  /** Name of its module. */
  readonly module: string;
  readonly sha256: string;
}

/** What is remembered of a source tree: the kernel that was found for its original state, and the updates that were built since. */
export interface OriginalState {
  readonly schema: 1;
  /** Digest of the description of the kernel. */
  readonly config: string;
  /** Digest of the state in which the tree was last seen to be, or to lead to, the original. */
  readonly tree: string;
  readonly kernel: {
    readonly release: string;
    readonly packageVersion: string;
    readonly buildId: string;
    readonly folder: string;
    readonly modulesDir: string | null;
    readonly makeFlags: readonly string[];
  };
  /** Commit of the kernel's own source, and of the present original; null when the tree was not looked at with git. */
  readonly commit: string | null;
  readonly original: string | null;
  /** Updates that the present original contains, oldest first. */
  readonly series: readonly SeriesUpdate[];
  /** Files in which the present original differs from the kernel's own source; base64, null for one that is gone. */
  readonly files: Readonly<Record<string, string | null>>;
  /** The update that was built last, which `--series` makes part of the original. */
  readonly last: (SeriesUpdate & { readonly commit: string | null; readonly files: OriginalState["files"] }) | null;
}

/** An overlay as it is kept. */
export function keptFiles(files: SourceOverlay): OriginalState["files"] {
  return Object.fromEntries(
    [...files].map(([path, content]) => [path, content === null ? null : Buffer.from(content).toString("base64")]),
  );
}

/** The reverse of {@link keptFiles}. */
export function overlayOf(files: OriginalState["files"]): Map<string, Uint8Array | null> {
  return new Map(
    Object.entries(files).map(([path, text]) => [path, text === null ? null : Buffer.from(text, "base64")]),
  );
}

/** The folder of the cache that remembers the original state of one source tree. */
export class OriginalMemory {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async of(tree: string): Promise<OriginalMemory> {
    const path = await realpath(tree).catch(() => resolve(tree));
    return new OriginalMemory(join(cacheRoot(), "trees", sha256(path).slice(0, 16), "ksplice"));
  }

  async read(): Promise<OriginalState | undefined> {
    try {
      const state = JSON.parse(await readFile(join(this.folder, "state.json"), "utf8")) as OriginalState;
      return state.schema === 1 ? state : undefined;
    } catch {
      return undefined;
    }
  }

  async write(state: OriginalState): Promise<void> {
    await writeFileAtomically(join(this.folder, "state.json"), `${JSON.stringify(state)}\n`);
  }

  /** Runs `work` while no other process makes an update from the tree. */
  alone<Result>(work: () => Promise<Result>, wait: LockWait): Promise<Result> {
    // Not in the folder of the tree: that is made with the first kernel that is found for it.
    const name = basename(dirname(this.folder));
    return withLock(join(cacheRoot(), "updates", `${name}.lock`), work, wait);
  }

  async forget(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Keeps what a later update needs of the kernel; a build in the user's tree may replace the files there. */
  async keepKernel(kernel: TargetKernel): Promise<void> {
    await makeFolder(this.folder).catch(rethrowDiskErrors);
    for (const [from, to] of kernelFiles(kernel)) await copyFile(from, join(this.folder, to)).catch(rethrowDiskErrors);
  }

  /**
   * The kernel of a state; undefined when the cache does not have all of it any more.
   * @param modules where its modules are now, which says nothing about the kernel: they may have been put there, or been moved.
   */
  async openKernel(state: OriginalState, modules: string | undefined): Promise<TargetKernel | undefined> {
    const { release, packageVersion, buildId, folder, modulesDir, makeFlags } = state.kernel;
    const at = (name: string): string => join(this.folder, name);
    for (const path of [at("image"), at("config"), at("symvers"), join(folder, "tree.json"), join(folder, "tree")]) {
      if (!(await exists(path))) return undefined;
    }
    const image = await KernelImage.open(at("image"), cacheRoot());
    if (image.buildId !== buildId) return undefined;
    await utimes(folder, new Date(), new Date()).catch(() => {});
    const tree = join(folder, "tree");
    return {
      ...{ release, packageVersion, image, buildId, folder, makeFlags },
      imagePath: at("image"),
      configPath: at("config"),
      symversPath: at("symvers"),
      modulesDir: modules ?? modulesDir ?? undefined,
      distribution: "source tree",
      // The tree is prepared already; should it have to be made again, it is its own source.
      source: async () => ({
        kind: "tree",
        path: tree,
        files: (await readTreeState(tree)).files,
        isUnchanged: async () => true,
      }),
    };
  }

  async keepModule(update: SeriesUpdate, content: Uint8Array): Promise<void> {
    await writeFileAtomically(join(this.folder, "modules", `${update.sha256}.ko`), content);
  }

  /** Modules of updates; undefined when one is gone. */
  async modulesOf(updates: readonly SeriesUpdate[]): Promise<{ name: string; content: Uint8Array }[] | undefined> {
    const found: { name: string; content: Uint8Array }[] = [];
    for (const { module, sha256: digest } of updates) {
      const content = await readFile(join(this.folder, "modules", `${digest}.ko`)).catch(() => undefined);
      if (content === undefined || sha256(content) !== digest) return undefined;
      found.push({ name: module, content });
    }
    return found;
  }
}

function kernelFiles(kernel: TargetKernel): [string, string][] {
  return [
    [kernel.imagePath, "image"],
    [kernel.configPath, "config"],
    [kernel.symversPath, "symvers"],
  ];
}

/**
 * Files in which a user's tree differs from the source that a kernel was prepared from. What the user added (and nothing of the original can include) is
 * left out when its name ends in one of `ignored`.
 */
export async function differencesOf(
  tree: string,
  files: readonly string[],
  prepared: string,
  known: readonly string[],
  ignored: (path: string) => boolean,
): Promise<Map<string, Uint8Array | null>> {
  const differing = new Map<string, Uint8Array | null>();
  const present = new Set(files);
  for (const path of new Set([...files, ...known])) {
    if (ignored(path)) continue;
    if (present.has(path) && isSameFile(join(tree, path), join(prepared, path))) continue;
    const here = present.has(path) ? await readFile(join(tree, path)).catch(() => null) : null;
    const there = await readFile(join(prepared, path)).catch(() => null);
    if (here === null ? there === null : there !== null && here.equals(there)) continue;
    differing.set(path, here);
  }
  return differing;
}

/** Milliseconds by which the last change of a file has to be older than its copy, so that a later change shows in the time: archives know whole seconds only. */
const settledMilliseconds = 3000;

/**
 * Whether size and time show that a file is the one that `copy` was made from: the prepared source keeps the times of its files. A file that was written
 * shortly before it was copied may have been written again in the same second, and has to be read.
 */
function isSameFile(file: string, copy: string): boolean {
  const [here, there] = [file, copy].map((path) => statSync(path, { throwIfNoEntry: false }));
  if (here === undefined || there === undefined || here.size !== there.size) return false;
  if (there.ctimeMs - there.mtimeMs < settledMilliseconds) return false;
  return Math.floor(here.mtimeMs / 1000) === Math.floor(there.mtimeMs / 1000);
}

import { join } from "node:path";
import type { ChangeSet } from "../change/change-set.ts";
import {
  buildFolderOf,
  type ExternalModule,
  moduleSourceFolder,
  moduleSymvers,
  readExternalModule,
} from "../kernel/modules/external-module.ts";
import type { ExportedSymbols } from "../kernel/modules/symvers.ts";
import { readModuleSourceState } from "../kernel/sources/tree-state.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import { prepareExternal } from "../kernel/tree/external-tree.ts";
import type { PreparedTree } from "../kernel/tree/prepare.ts";
import { sha256 } from "../support/cache.ts";
import { keepRecent } from "../support/kept-folders.ts";
import type { Progress } from "../support/progress.ts";

/** A module that is not part of the kernel: the file that runs, and the source that it was built from. */
export interface ExternalRequest {
  readonly module: string;
  readonly source: string;
  /** Module.symvers of other external modules whose exports it uses. */
  readonly symvers?: readonly string[] | undefined;
}

/** An external module that is to be patched, checked as far as that can be done without a kernel. */
export interface OpenedExternal extends ExternalModule {
  /** Real path of its source. */
  readonly source: string;
  /** Exports of the modules that were built from this source, and of the other files that were given. */
  readonly symvers: ExportedSymbols;
}

/** @throws KmendError of {@link readExternalModule}, {@link moduleSourceFolder}, {@link moduleSymvers}. */
export async function openExternal(request: ExternalRequest, signal?: AbortSignal): Promise<OpenedExternal> {
  const source = await moduleSourceFolder(request.source);
  const module = await readExternalModule(request.module, signal);
  return { ...module, source, symvers: await moduleSymvers(source, request.symvers) };
}

/** Where units of an external module are compiled. */
export interface ExternalPlace {
  readonly tree: PreparedTree;
  /** Folder of the cache for this state of the source. */
  readonly folder: string;
}

/**
 * Makes the place for compiling an external module, once for each state of its source.
 * @throws KmendError of {@link readModuleSourceState}, {@link prepareExternal}.
 */
export async function externalPlace(
  external: OpenedExternal,
  kernel: TargetKernel,
  tree: PreparedTree,
  progress: Progress,
  signal?: AbortSignal,
): Promise<ExternalPlace> {
  const { source: path, name } = external;
  const state = await readModuleSourceState(path, signal);
  // The flags that carry it are words of a shell command.
  const builtIn = [buildFolderOf(external, state.files), path].find((folder) => /^[\w./+-]+$/.test(folder ?? "="));
  const key = sha256(name, "\0", builtIn ?? "", "\0", state.digest).slice(0, 16);
  const folder = join(kernel.folder, "external", sha256(path).slice(0, 16), key);
  await keepRecent(folder);
  const isUnchanged = async (): Promise<boolean> => (await readModuleSourceState(path, signal)).digest === state.digest;
  const source = { kind: "tree", path, files: state.files, isUnchanged } as const;
  return { tree: await prepareExternal(tree, { name, source, builtIn, folder, progress, signal }), folder };
}

/**
 * Reads a change of the source in a tree: of the external module where it has one, whose file names become those of the tree.
 * @param read gets the folder that the change is about.
 */
export async function changeIn(tree: PreparedTree, read: (path: string) => Promise<ChangeSet>): Promise<ChangeSet> {
  const { external } = tree.environment;
  if (external === undefined) return read(tree.path);
  const change = await read(join(tree.path, external));
  return { ...change, files: change.files.map((file) => ({ ...file, path: join(external, file.path) })) };
}

import { unpackTarball } from "../package/formats/tarball.ts";
import { isUpdateArchive, isUpdatePath, moduleInto } from "./update-bundle.ts";

/** Finished patch modules that somebody gave, as files. */
export interface FinishedFiles {
  readonly files: readonly string[];
  /** What they are for, where they say so. */
  readonly description: string | undefined;
}

/** Whether a path is something that holds finished patch modules: one itself, or an archive or folder with some. */
export async function holdsModules(path: string): Promise<boolean> {
  return /\.(ko|tar\.gz|tgz)$/.test(path) || (await isUpdatePath(path));
}

/**
 * The patch modules of an update, of an archive of `kmend package`, or a module itself.
 * @param folder an empty folder that gets those of an archive.
 * @throws KmendError `BAD_UPDATE`, `BAD_ARCHIVE` (exit 4)
 */
export async function finishedFilesOf(path: string, folder: string, signal?: AbortSignal): Promise<FinishedFiles> {
  if (path.endsWith(".ko")) return { files: [path], description: undefined };
  if (!(await isUpdateArchive(path))) {
    return { files: await unpackTarball(path, folder, signal), description: undefined };
  }
  const { file, description } = await moduleInto(path, folder);
  return { files: [file], description };
}

import { chmod, lstat } from "node:fs/promises";
import { join } from "node:path";
import { rethrowDiskErrors } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { makeFolder } from "../../support/make-folder.ts";

/** What kmend remembers until the next boot: a folder of /run, which is empty then. */
export const runFolder = "/run/kmend";

/** Held by whoever changes the system, and kept open by each program that it starts for that. */
export const lockFile: string = join(runFolder, "lock");

/** Holds the copy of a module while the kernel reads it. */
export const insertFolder: string = join(runFolder, "insert");

/** Modules of stops while they are loaded, named as the kernel names them. */
export const stopsFolder: string = join(runFolder, "stops");

/**
 * Makes the folder with mode 755, whatever the umask is: who can write there could hold every change up, or tell kmend what is loaded.
 * @throws KmendError `NOT_WRITABLE`, `RUN_FOLDER` (exit 5) when it is another user's or no folder.
 */
export async function prepareRunFolder(root: string): Promise<void> {
  const path = join(root, runFolder);
  await makeFolder(path, 0o755).catch(rethrowDiskErrors);
  const entry = await lstat(path);
  if (!entry.isDirectory() || entry.uid !== process.geteuid?.()) {
    throw new KmendError({
      code: "RUN_FOLDER",
      message: `${path} is ${entry.isDirectory() ? "another user's" : "no folder"}`,
      hint: `find out what made it, and remove it: rm -r ${path}`,
      exitCode: ExitCode.environment,
    });
  }
  if ((entry.mode & 0o777) !== 0o755) await chmod(path, 0o755);
}

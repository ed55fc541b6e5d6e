import { readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { exists, rethrowDiskErrors, sweepTemporaries, temporaryBeside } from "./cache.ts";
import { makeFolder } from "./make-folder.ts";

/** How many states of one source the cache keeps: the present one, and the one before for whoever goes back to it. */
const keptStates = 2;

/**
 * Makes a folder of the cache for one state of something, or marks it as used now. A new one replaces its older siblings but for the last one; those that
 * a running process works in stay.
 * @returns true when the folder is new.
 */
export async function keepRecent(folder: string): Promise<boolean> {
  const parent = dirname(folder);
  const isNew = !(await exists(folder));
  await makeFolder(folder).catch(rethrowDiskErrors);
  await utimes(folder, new Date(), new Date()).catch(() => {});
  if (!isNew) return false;
  await sweepTemporaries(parent);
  const siblings = await Promise.all(
    (await readdir(parent))
      .filter((name) => !name.startsWith("."))
      .map(async (name) => ({ path: join(parent, name), used: await usedAt(join(parent, name)) })),
  );
  for (const { path } of siblings.sort((a, b) => b.used - a.used).slice(keptStates)) {
    if (await isInUse(path)) continue;
    await retireFolder(path);
  }
  return true;
}

/** Time of the last use in milliseconds; 0 for a folder that another process has removed meanwhile. */
async function usedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}

/** Removes a folder so that nobody sees it half gone. */
export async function retireFolder(path: string): Promise<void> {
  const aside = temporaryBeside(path);
  await rename(path, aside).catch(() => {});
  await rm(aside, { recursive: true, force: true });
}

/** True when a running process has a lock or a folder of its own there. */
export async function isInUse(folder: string): Promise<boolean> {
  await sweepTemporaries(folder);
  const names = await readdir(folder).catch(() => [] as string[]);
  return names.some((name) => name.endsWith(".lock") || name.endsWith(".tmp"));
}

import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { temporaryBeside } from "../../support/cache.ts";
import { systemErrorCode } from "../../support/errors.ts";
import { makeFolder } from "../../support/make-folder.ts";

/** Makes a rename or removal in a folder last over a loss of power. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a small file so that it is there, whole, once this returns, even if the machine dies in the next moment. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const folder = dirname(path);
  const temporary = temporaryBeside(path);
  // A folder that was just made is an entry of its parent, which has to last as well.
  const first = await makeFolder(folder, 0o755);
  try {
    const handle = await open(temporary, "wx", 0o644);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw error;
  }
  for (let made = folder; ; made = dirname(made)) {
    await syncFolder(made);
    if (first === undefined || made === dirname(first)) return;
  }
}

/** Removes a file so that it stays removed. @returns false when there was none. */
export async function removeDurably(path: string): Promise<boolean> {
  try {
    await rm(path);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw error;
  }
  await syncFolder(dirname(path));
  return true;
}

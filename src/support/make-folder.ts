import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { KmendError, systemErrorCode } from "./errors.ts";

/**
 * Makes a folder, and those above it that are missing. mkdir(recursive) of Node never returns where the system says of a folder that exists that nothing of that name can
 * be made in it, as it does below /proc (ENOENT for mkdir(2), as of Node 20 to 24).
 * @param mode of each folder that is made.
 * @returns the first folder that was made; undefined when all were there.
 * @throws errors of the file system; KmendError `NOT_WRITABLE` where the file system makes no folders.
 */
export async function makeFolder(path: string, mode = 0o777): Promise<string | undefined> {
  try {
    await mkdir(path, mode);
    return path;
  } catch (error) {
    if (systemErrorCode(error) === "EEXIST") {
      if ((await stat(path)).isDirectory()) return undefined;
      throw error;
    }
    if (systemErrorCode(error) !== "ENOENT" || dirname(path) === path) throw error;
  }
  const first = await makeFolder(dirname(path), mode);
  try {
    await mkdir(path, mode);
    return first ?? path;
  } catch (error) {
    // Another process was faster.
    if (systemErrorCode(error) === "EEXIST" && (await stat(path)).isDirectory()) return first;
    if (systemErrorCode(error) !== "ENOENT") throw error;
    throw new KmendError({
      code: "NOT_WRITABLE",
      message: `no folder can be made in ${dirname(path)}`,
      where: path,
      hint: "choose another folder (-o DIR for the output, KMEND_CACHE=DIR for the cache)",
      cause: error,
    });
  }
}

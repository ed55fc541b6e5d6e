import { readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { readModinfo } from "../patch-module/modinfo.ts";
import { rethrowDiskErrors } from "../support/cache.ts";
import { compressionOf, decompress } from "../support/decompress.ts";

/** Copies a module file into `folder`, decompressed. @returns path of the plain `.ko`. */
export async function plainModule(path: string, folder: string, signal?: AbortSignal): Promise<string> {
  const content = await readFile(path);
  const isPacked = compressionOf(content) !== undefined;
  const copy = join(folder, basename(path).replace(/\.ko\.\w+$/, ".ko"));
  await writeFile(copy, isPacked ? await decompress(content, path, { signal }) : content).catch(rethrowDiskErrors);
  return copy;
}

/** {@link readModinfo} of a plain `.ko` file. */
export async function modinfoOf(path: string): Promise<ReadonlyMap<string, readonly string[]>> {
  return readModinfo(await readFile(path));
}

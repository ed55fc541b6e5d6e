import { copyFile, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { readModinfo } from "../patch-module/modinfo.ts";
import { run } from "../support/run.ts";

/** Endings of compressed modules (CONFIG_MODULE_COMPRESS_*) and the program that unpacks a file in place. */
const decompressors: Readonly<Record<string, readonly [string, ...string[]]>> = {
  ".xz": ["xz", "--decompress", "--quiet"],
  ".zst": ["zstd", "--decompress", "--rm", "--quiet"],
  ".gz": ["gzip", "--decompress", "--quiet"],
};

/** A module's name as the kernel counts it: no folder, no ending, `-` as `_`. */
export function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, "")
    .replaceAll("-", "_");
}

/** Copies a module file into `folder`, decompressed. @returns path of the plain `.ko`. */
export async function plainModule(path: string, folder: string): Promise<string> {
  const ending = /\.ko(\.\w+)$/.exec(path)?.[1];
  const command = ending === undefined ? undefined : decompressors[ending];
  const copy = join(folder, basename(path));
  await copyFile(path, copy);
  if (ending === undefined || command === undefined) return copy;
  const [program, ...options] = command;
  await run(program, [...options, copy]);
  return copy.slice(0, -ending.length);
}

/** {@link readModinfo} of a plain `.ko` file. */
export async function modinfoOf(path: string): Promise<ReadonlyMap<string, readonly string[]>> {
  return readModinfo(await readFile(path));
}

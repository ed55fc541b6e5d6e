import { copyFile, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { ElfReader } from "../elf/reader.ts";
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

/**
 * The `key=value` strings of a module's .modinfo section (include/linux/moduleparam.h, __MODULE_INFO).
 * @throws ElfFormatError when the file is no ELF object.
 */
export function readModinfo(file: Uint8Array): ReadonlyMap<string, readonly string[]> {
  const section = new ElfReader(file).section(".modinfo");
  const info = new Map<string, string[]>();
  for (const entry of section === undefined ? [] : Buffer.from(section.data).toString("utf8").split("\0")) {
    const equals = entry.indexOf("=");
    if (equals < 0) continue;
    const key = entry.slice(0, equals);
    const value = entry.slice(equals + 1);
    const values = info.get(key);
    if (values === undefined) info.set(key, [value]);
    else values.push(value);
  }
  return info;
}

/** {@link readModinfo} of a plain `.ko` file. */
export async function modinfoOf(path: string): Promise<ReadonlyMap<string, readonly string[]>> {
  return readModinfo(await readFile(path));
}

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { sha256, writeFileAtomically } from "../../support/cache.ts";

/** How long a file has to have been left alone for its state to tell its content: longer than the coarsest clock of a file system, in milliseconds. */
const settledMilliseconds = 5000;

/** Something that a file's content tells and that takes long to find out. */
export interface Remembered {
  /** Folder of the cache that holds all values of this kind. */
  readonly kind: string;
  readonly isValid: (value: string) => boolean;
  readonly find: () => Promise<string>;
}

/**
 * A value that depends on nothing but a file's content. It is remembered under the file's state (device, inode, size, times of change to the nanosecond);
 * the time of change of the inode cannot be set back by whoever writes the file.
 * @param cache folder of the cache.
 * @throws errors of the file system, and those of `find`.
 */
export async function rememberOfFile(
  path: string,
  cache: string,
  { kind, isValid, find }: Remembered,
): Promise<string> {
  const state = await stateOf(path);
  const record = join(cache, kind, state.key);
  const known = await readFile(record, "utf8").catch(() => "");
  if (isValid(known)) return known;
  const value = await find();
  const isSettled = Date.now() - state.changed > settledMilliseconds && (await stateOf(path)).key === state.key;
  // A cache that cannot be written costs time, and nothing else here.
  if (isSettled && isValid(value)) await writeFileAtomically(record, value).catch(() => {});
  return value;
}

/** SHA-256 of a file's content, remembered so that a kernel image is not read whole at every build. @see {@link rememberOfFile} */
export async function digestOfFile(path: string, cache: string): Promise<string> {
  const find = async (): Promise<string> => {
    const hash = createHash("sha256");
    for await (const bytes of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(bytes as Buffer);
    return hash.digest("hex");
  };
  return rememberOfFile(path, cache, { kind: "digests", isValid: (value) => /^[0-9a-f]{64}$/.test(value), find });
}

async function stateOf(path: string): Promise<{ key: string; changed: number }> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  return {
    key: sha256([dev, ino, size, mtimeNs, ctimeNs].join(" ")).slice(0, 32),
    changed: Number(ctimeNs / 1_000_000n),
  };
}

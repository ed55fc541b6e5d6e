import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { sha256, writeFileAtomically } from "../support/cache.ts";

/** How long a file has to have been left alone for its state to tell its content: longer than the coarsest clock of a file system, in milliseconds. */
const settledMilliseconds = 5000;

/**
 * SHA-256 of a file's content. It is remembered under the file's state (device, inode, size, times of change to the nanosecond), so that a kernel image
 * is not read whole at every build; the time of change of the inode cannot be set back by whoever writes the file.
 * @param cache folder of the cache.
 * @throws errors of the file system.
 */
export async function digestOfFile(path: string, cache: string): Promise<string> {
  const state = await stateOf(path);
  const record = join(cache, "digests", state.key);
  const known = await readFile(record, "latin1").catch(() => "");
  if (/^[0-9a-f]{64}$/.test(known)) return known;
  const hash = createHash("sha256");
  for await (const bytes of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(bytes as Buffer);
  const digest = hash.digest("hex");
  const isSettled = Date.now() - state.changed > settledMilliseconds && (await stateOf(path)).key === state.key;
  // A cache that cannot be written costs time, and nothing else here.
  if (isSettled) await writeFileAtomically(record, digest).catch(() => {});
  return digest;
}

async function stateOf(path: string): Promise<{ key: string; changed: number }> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  return {
    key: sha256([dev, ino, size, mtimeNs, ctimeNs].join(" ")).slice(0, 32),
    changed: Number(ctimeNs / 1_000_000n),
  };
}

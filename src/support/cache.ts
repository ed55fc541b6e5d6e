import { createHash, randomBytes } from "node:crypto";
import { link, lstat, open, readdir, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { requireTrustedCache } from "./cache-trust.ts";
import { environmentVariable } from "./environment.ts";
import { ExitCode, KmendError, messageOf, systemErrorCode } from "./errors.ts";
import { makeFolder } from "./make-folder.ts";
import { isRunning, ownIdentity, whetherAlive } from "./process-identity.ts";

/**
 * The cache folder: `$KMEND_CACHE`, else `$XDG_CACHE_HOME/kmend`, else `~/.cache/kmend`.
 * @throws KmendError `CACHE_UNTRUSTED` (exit 5) when somebody else can write to it.
 */
export function cacheRoot(): string {
  const root = cachePath();
  requireTrustedCache(root);
  return root;
}

/** The same, for messages. */
export function cachePath(): string {
  const own = environmentVariable("KMEND_CACHE");
  if (own !== undefined && own !== "") return resolve(own);
  const xdg = environmentVariable("XDG_CACHE_HOME");
  return resolve(xdg !== undefined && xdg !== "" ? xdg : join(homedir(), ".cache"), "kmend");
}

/**
 * Makes a file or folder so that it is either wholly there or not at all: `make` fills a temporary path beside it, which is then renamed.
 * When another process was faster its result is kept. Nothing is done when `path` exists.
 */
export async function makeOnce(path: string, make: (temporary: string) => Promise<void>): Promise<string> {
  if (await exists(path)) return path;
  await makeFolder(dirname(path)).catch(rethrowDiskErrors);
  const temporary = temporaryBeside(path);
  try {
    await make(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    const code = systemErrorCode(error);
    if ((code === "ENOTEMPTY" || code === "EEXIST") && (await exists(path))) return path;
    rethrowDiskErrors(error);
  }
  return path;
}

/** Replaces a file atomically: readers see the old content or the new one. */
export async function writeFileAtomically(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    await makeFolder(dirname(path));
    await writeFile(temporary, content, { mode });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    rethrowDiskErrors(error);
  }
}

/** A name in the same folder that no other process uses: `.<name>.<pid>.<random>.tmp`. */
export function temporaryBeside(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return join(dirname(path), `.${name}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`);
}

/** True when something is at `path`, a dangling link included. */
export async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch {
    return false;
  }
}

/** SHA-256 as 64 hexadecimal digits. */
export function sha256(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}

/** Turns "no space left" and "not permitted" of the file system into advice; rethrows everything else as it is. */
export function rethrowDiskErrors(error: unknown): never {
  const code = systemErrorCode(error);
  const path = error instanceof Error && "path" in error ? String(error.path) : undefined;
  const elsewhere = path !== undefined && !resolve(path).startsWith(resolve(cachePath()));
  if (
    code === "ENOSPC" ||
    code === "EDQUOT" ||
    (error instanceof Error &&
      /No space left on device|ENOSPC/.test(`${error.message} ${error instanceof KmendError ? error.why : ""}`))
  ) {
    throw new KmendError({
      code: "NO_SPACE",
      message: "no space left on the disk",
      where: path,
      hint: elsewhere
        ? "free some space there"
        : `free some space, or choose another cache folder with KMEND_CACHE=DIR (now ${cachePath()})`,
      cause: error,
    });
  }
  if (code === "EACCES" || code === "EPERM" || code === "EROFS" || code === "ENOTDIR" || code === "EEXIST") {
    throw new KmendError({
      code: "NOT_WRITABLE",
      message: `cannot write: ${messageOf(error)}`,
      where: path,
      hint: elsewhere
        ? "choose a folder that you may write to (for the output of a build: -o DIR), or see to this one"
        : "choose a folder that you may write to (-o DIR for the output, KMEND_CACHE=DIR for the cache)",
      cause: error,
    });
  }
  throw error;
}

/** How a wait for a lock goes on. Both have to be thought of: nobody waits in silence, or through an interrupt. */
export interface LockWait {
  /** Called once when another process holds the lock, with its number. */
  readonly onWait: (owner: string) => void;
  /** Ends the wait. */
  readonly signal: AbortSignal | undefined;
  /** Mode of the lock's file; default 644, so that others who share the folder see whose it is. */
  readonly mode?: number | undefined;
}

/** How long a waiting process sleeps between two looks at a lock, in milliseconds. */
const lockPollMilliseconds = 200;

/** Whoever holds a lock touches it so often, in milliseconds. */
const lockTouchMilliseconds = 10_000;

/** A lock of another machine or container that was not touched for so long belongs to nobody any more, in milliseconds. */
const lockStaleMilliseconds = 300_000;

/**
 * Runs `work` while holding the lock `name` of the cache, so that two kmend processes never prepare the same thing at once.
 * A lock whose owner is gone is taken over: of this boot by the number and start time of its process, of an earlier boot of this machine at once, of another
 * machine when it has not touched it for {@link lockStaleMilliseconds}.
 * @throws KmendError `INTERRUPTED` when the wait was ended
 */
export async function withLock<Result>(
  path: string,
  work: () => Promise<Result>,
  { onWait, signal, mode = 0o644 }: LockWait,
): Promise<Result> {
  await makeFolder(dirname(path)).catch(rethrowDiskErrors);
  const me = await ownIdentity();
  let told = false;
  for (;;) {
    if (await tryLock(path, me, mode)) break;
    const owner = await ownerOf(path);
    if (await isAbandoned(path, owner)) {
      await stealLock(path, owner);
      continue;
    }
    if (!told) onWait(/^\d+/.exec(owner)?.[0] ?? "?");
    told = true;
    await delay(lockPollMilliseconds, undefined, { signal }).catch(() => {
      throw new KmendError({ code: "INTERRUPTED", message: "interrupted", exitCode: ExitCode.interrupted });
    });
  }
  const touch = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), lockTouchMilliseconds);
  touch.unref();
  try {
    return await work();
  } finally {
    clearInterval(touch);
    await rm(path, { force: true });
  }
}

/** What a lock says; nothing where it has gone meanwhile, is empty after a loss of power, or is something else than a file. */
async function ownerOf(path: string): Promise<string> {
  const found = await lstat(path).catch(() => undefined);
  return found?.isFile() === true ? await readFile(path, "utf8").catch(() => "") : "";
}

/** One that does not tell whose it is ends with its time, as one of another machine does: a lock that is in use is touched. */
async function isAbandoned(path: string, owner: string): Promise<boolean> {
  const state = owner === "" ? "unknown" : await whetherAlive(owner);
  if (state !== "unknown") return state === "gone";
  const touched = await lstat(path).catch(() => undefined);
  return touched !== undefined && Date.now() - touched.mtimeMs > lockStaleMilliseconds;
}

async function tryLock(path: string, owner: string, mode: number): Promise<boolean> {
  // The lock appears with its content at once: it is written aside and hard-linked into place.
  const temporary = temporaryBeside(path);
  const file = await open(temporary, "wx", mode).catch(rethrowDiskErrors);
  try {
    await file.writeFile(owner);
    await file.close();
    await link(temporary, path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === "EEXIST") return false;
    rethrowDiskErrors(error);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function stealLock(path: string, deadOwner: string): Promise<void> {
  // Rename is atomic: only one of several waiting processes gets the dead lock, and a fresh one is put back untouched.
  const aside = temporaryBeside(path);
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  const owner = await ownerOf(aside);
  if (owner !== deadOwner) {
    await link(aside, path).catch(() => {});
  }
  await rm(aside, { force: true, recursive: true });
}

/**
 * Removes what killed processes left in a cache folder: temporary names whose process is gone. A compiler that such a process had started may still write
 * there; what then cannot be removed is left to the next who comes by.
 */
export async function sweepTemporaries(folder: string): Promise<void> {
  for (const { name, pid } of await temporariesIn(folder)) {
    if (!(await isRunning(pid))) {
      await rm(join(folder, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }).catch(() => {});
    }
  }
}

/** Processes other than this one that run and have something temporary in a folder of the cache. @returns their ids. */
export async function otherUsers(folder: string): Promise<number[]> {
  const users: number[] = [];
  for (const { pid } of await temporariesIn(folder)) {
    if (pid !== process.pid && (await isRunning(pid))) users.push(pid);
  }
  return users;
}

async function temporariesIn(folder: string): Promise<{ name: string; pid: number }[]> {
  const names = await readdir(folder).catch(() => [] as string[]);
  return names.flatMap((name) => {
    const pid = /^\..+\.(\d+)\.[0-9a-f]{8}\.tmp$/.exec(name)?.[1];
    return pid === undefined ? [] : [{ name, pid: Number(pid) }];
  });
}

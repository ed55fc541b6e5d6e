import { readdir, readFile, writeFile } from "node:fs/promises";
import { release as runningRelease } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { confirmLater, expireLater, isShuttingDown } from "../installed/service-manager.ts";
import { insertModule, removeModule } from "./module-programs.ts";

/**
 * The running system as this room sees it. What is read is read below `root`; what changes the system goes through the other members, so that a test can
 * stand in for a kernel.
 */
export interface Host {
  /** Folder that stands for `/`. */
  readonly root: string;
  /** As `uname -r` prints it. */
  readonly release: string;
  /** True when this process may change the system. */
  readonly privileged: boolean;
  /** Loads a module file, which is called `named` in messages. @throws KmendError with what the kernel said. */
  insertModule(file: string, named?: string): Promise<void>;
  /** Unloads a module. @returns false when the kernel says that it is still in use. @throws KmendError for any other failure. */
  removeModule(name: string): Promise<boolean>;
  /** Writes to a file of sysfs; `path` is absolute. The kernel's refusal is thrown as a system error. */
  writeState(path: string, text: string): Promise<void>;
  /** Has what was loaded at boot confirmed in so many seconds. Never throws. */
  confirmLater(seconds: number): Promise<void>;
  /** Has a load ended in so many seconds. @returns false when nothing could be started for that. */
  expireLater(expiry: { readonly name: string; readonly since: string }, seconds: number): Promise<boolean>;
  /** Whether the system is on its orderly way down. */
  isShuttingDown(): Promise<boolean>;
  /** Milliseconds of a clock that only goes forward. */
  now(): number;
  sleep(milliseconds: number): Promise<void>;
}

/** The system that this process runs on. */
export function thisHost(): Host {
  return {
    root: "/",
    release: runningRelease(),
    privileged: process.geteuid?.() === 0,
    insertModule,
    removeModule,
    writeState: (path, text) => writeFile(path, text),
    confirmLater,
    expireLater,
    isShuttingDown,
    now: () => performance.now(),
    sleep: (milliseconds) => delay(milliseconds),
  };
}

/** Text of a small file below the root without white space at its ends; undefined when it cannot be read, whatever the reason. */
export async function readState(root: string, ...path: readonly string[]): Promise<string | undefined> {
  try {
    return (await readFile(join(root, ...path), "utf8")).trim();
  } catch {
    return undefined;
  }
}

/** A file of the kernel that holds `0`/`1` or `N`/`Y`; null when it is not there or cannot be read. */
export async function readSwitch(root: string, ...path: readonly string[]): Promise<boolean | null> {
  const text = await readState(root, ...path);
  if (text === "1" || text === "Y") return true;
  return text === "0" || text === "N" ? false : null;
}

/** Names in a folder below the root, sorted; none when there is no such folder. With `folders`, only those of folders. */
export async function namesIn(root: string, path: string, folders = false): Promise<readonly string[]> {
  const entries = await readdir(join(root, path), { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !folders || entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { sweepTemporaries, withLock, writeFileAtomically } from "../support/cache.ts";
import { namesIn, readState } from "./host.ts";
import { moduleProgramMark } from "./module-programs.ts";
import { isModuleLoaded } from "./sysfs.ts";

/** What kmend remembers until the next boot: a folder of /run, which is empty then. */
export const runFolder = "/run/kmend";

const loadedFolder = join(runFolder, "loaded");

/** When and from what a patch module was loaded. */
export interface LoadRecord {
  /** When its transition was over, as ISO 8601 in UTC. */
  readonly since: string;
  readonly file: string;
  readonly sha256: string;
}

function recordPath(root: string, name: string): string {
  return join(root, loadedFolder, `${name}.json`);
}

/** Remembers that a patch is in force from now on. */
export async function writeLoadRecord(root: string, name: string, record: LoadRecord): Promise<void> {
  await writeFileAtomically(recordPath(root, name), `${JSON.stringify(record)}\n`);
}

/** What is known about a loaded patch; undefined when something else than kmend loaded it. */
export async function readLoadRecord(root: string, name: string): Promise<LoadRecord | undefined> {
  const text = await readState(recordPath(root, name));
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as LoadRecord;
  } catch {
    return undefined;
  }
}

/** Forgets a patch that was unloaded. */
export async function removeLoadRecord(root: string, name: string): Promise<void> {
  await rm(recordPath(root, name), { force: true });
}

/**
 * Runs what changes the system while no other kmend does, and once what a killed one had started has ended.
 * @param onWait is told the process that it waits for.
 */
export function withHostLock<Result>(
  root: string,
  work: () => Promise<Result>,
  onWait?: (owner: string) => void,
): Promise<Result> {
  const all = async (): Promise<Result> => {
    await orphansEnd(root, onWait);
    await sweepRecords(root);
    return work();
  };
  return withLock(join(root, runFolder, "lock"), all, onWait);
}

/** The mark as it stands in an environment. */
const marked = Object.entries(moduleProgramMark).map((entry) => entry.join("="));

/**
 * The process number of a program that a killed kmend had started and that still works. While insmod works out addresses, its module is to be seen
 * nowhere: who looks then would find nothing to unload, and the patch would come into force afterwards.
 */
async function orphanedProgram(root: string): Promise<string | undefined> {
  for (const pid of await namesIn(root, "/proc", true)) {
    if (!/^\d+$/.test(pid)) continue;
    const environment = (await readState(root, "proc", pid, "environ")) ?? "";
    if (environment.split("\0").some((entry) => marked.includes(entry))) return pid;
  }
  return undefined;
}

/** Whoever holds the lock starts no program before this, so each one that works is another's. */
async function orphansEnd(root: string, onWait: ((owner: string) => void) | undefined): Promise<void> {
  let told: string | undefined;
  for (;;) {
    const pid = await orphanedProgram(root);
    if (pid === undefined) return;
    if (told !== pid) onWait?.(pid);
    told = pid;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/**
 * Removes what killed processes left behind: half-written files, and records of modules that are gone. Such a record would give its time and file to a module
 * of that name which something else loads later.
 */
async function sweepRecords(root: string): Promise<void> {
  await sweepTemporaries(join(root, runFolder));
  await sweepTemporaries(join(root, loadedFolder));
  for (const file of await namesIn(root, loadedFolder)) {
    if (!file.startsWith(".") && !(await isModuleLoaded(root, file.replace(/\.json$/, "")))) {
      await rm(join(root, loadedFolder, file), { force: true });
    }
  }
}

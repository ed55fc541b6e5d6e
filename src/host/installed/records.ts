import { rm } from "node:fs/promises";
import { join } from "node:path";
import { sweepTemporaries, withLock, writeFileAtomically } from "../../support/cache.ts";
import { namesIn, readState } from "../kernel/host.ts";
import { type OrphanWait, orphansEnd } from "../kernel/orphaned-programs.ts";
import { insertFolder, lockFile, prepareRunFolder, runFolder, stopsFolder } from "../kernel/run-folder.ts";
import { isModuleLoaded } from "../kernel/sysfs.ts";

const loadedFolder = join(runFolder, "loaded");

/** When and from what a patch module was loaded. */
export interface LoadRecord {
  /** When its transition was over, as ISO 8601 in UTC. */
  readonly since: string;
  readonly file: string;
  readonly sha256: string;
  /** Who loaded it; missing in records of older versions. */
  readonly by?: string | undefined;
  /** When it is to be unloaded by itself, as ISO 8601 in UTC. */
  readonly until?: string | undefined;
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

/** Forgets a patch that was unloaded, and removes the module of a stop that waits in /run. */
export async function removeLoadRecord(root: string, name: string): Promise<void> {
  await rm(join(root, stopsFolder, `${name}.ko`), { force: true });
  await rm(recordPath(root, name), { force: true });
}

/**
 * Runs what changes the system while no other kmend does, and once what a killed one had started has ended.
 * @param wait is told the process that it waits for, and may end the wait.
 * @throws KmendError `PROGRAM_WORKS`, `INTERRUPTED`, and those of {@link prepareRunFolder}
 */
export async function withHostLock<Result>(
  root: string,
  work: () => Promise<Result>,
  wait: OrphanWait = {},
): Promise<Result> {
  await prepareRunFolder(root);
  const all = async (): Promise<Result> => {
    await orphansEnd(root, wait);
    await sweepRecords(root);
    return work();
  };
  // Whoever can open the file can leave it open in a program of root's that was started for him, and such a program is waited for.
  return withLock(join(root, lockFile), all, { onWait: wait.onWait ?? (() => {}), signal: wait.signal, mode: 0o600 });
}

/**
 * Removes what killed processes left behind: half-written files, copies of modules, and records of modules that are gone. Such a record would give its time and file to a module
 * of that name which something else loads later.
 */
async function sweepRecords(root: string): Promise<void> {
  await sweepTemporaries(join(root, runFolder));
  await rm(join(root, insertFolder), { recursive: true, force: true });
  await sweepTemporaries(join(root, loadedFolder));
  for (const file of await namesIn(root, loadedFolder)) {
    if (!file.startsWith(".") && !(await isModuleLoaded(root, file.replace(/\.json$/, "")))) {
      await rm(join(root, loadedFolder, file), { force: true });
    }
  }
}

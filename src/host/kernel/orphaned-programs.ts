import { readlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { sanitise } from "../../support/sanitise.ts";
import { namesIn, readState } from "./host.ts";
import { moduleProgramMark } from "./module-programs.ts";
import { lockFile } from "./run-folder.ts";

/** How long a program that a killed kmend left gets to end, in milliseconds; a module's init function seldom takes seconds. */
const orphanLimit = 120_000;
const poll = 100;

/** How a wait for such a program goes on. */
export interface OrphanWait {
  /** Is told each one that is waited for: its number and name. */
  readonly onWait?: ((program: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds; default {@link orphanLimit}. */
  readonly limit?: number | undefined;
}

/**
 * Waits for programs that a killed kmend had started. While insmod works out addresses, its module is to be seen nowhere: who looks then would find
 * nothing to unload, and the patch would come into force afterwards. Whoever holds the lock starts no program before this, so each one is another's.
 * @throws KmendError `PROGRAM_WORKS` (exit 5) after the limit, `INTERRUPTED`
 */
export async function orphansEnd(root: string, { onWait, signal, limit = orphanLimit }: OrphanWait): Promise<void> {
  const end = performance.now() + limit;
  let told: string | undefined;
  for (;;) {
    const pid = await orphanedProgram(root);
    if (pid === undefined) return;
    const name = sanitise((await readState(root, "proc", pid, "comm")) ?? "?");
    const program = `${pid}, ${name} of a kmend that was killed`;
    if (told !== pid) onWait?.(program);
    told = pid;
    if (performance.now() >= end) throw stillWorks(pid, name, limit);
    await delay(poll, undefined, { signal }).catch(() => {
      throw new KmendError({ code: "INTERRUPTED", message: "interrupted", exitCode: ExitCode.interrupted });
    });
  }
}

function stillWorks(pid: string, name: string, limit: number): KmendError {
  return new KmendError({
    code: "PROGRAM_WORKS",
    message: `process ${pid} (${name}) still loads or unloads a module, after ${Math.round(limit / 1000)} s`,
    why: "a killed kmend had started it, and its result is unknown until it ends",
    hint: `cat /proc/${pid}/stack shows where it is; try again when it has ended`,
    exitCode: ExitCode.environment,
  });
}

/** The mark as it stands in an environment. */
const marks = Object.entries(moduleProgramMark).map((entry) => entry.join("="));

/** The process number of one. Anybody can set a mark; only this user's own processes can hold the lock file open with it. */
async function orphanedProgram(root: string): Promise<string | undefined> {
  for (const pid of await namesIn(root, "/proc", true)) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const environment = (await readState(root, "proc", pid, "environ")) ?? "";
    if (!environment.split("\0").some((entry) => marks.includes(entry))) continue;
    if ((await isOwn(root, pid)) && (await holdsLock(root, pid))) return pid;
  }
  return undefined;
}

/** All four user ids of a process are this one's; the owner of its folder in /proc says less, since it is root for one that is not dumpable (proc(5)). */
async function isOwn(root: string, pid: string): Promise<boolean> {
  const ids = /^Uid:\s+(.*)$/m.exec((await readState(root, "proc", pid, "status")) ?? "")?.[1]?.split(/\s+/) ?? [];
  return ids.length === 4 && ids.every((id) => Number(id) === process.geteuid?.());
}

/** A lock that was taken over has another name since, and may be gone from its folder. */
async function holdsLock(root: string, pid: string): Promise<boolean> {
  const folder = join("proc", pid, "fd");
  for (const descriptor of await namesIn(root, folder)) {
    const target = await readlink(join(root, folder, descriptor)).catch(() => "");
    const path = target.replace(/ \(deleted\)$/, "");
    const lock = join(root, lockFile);
    if (path === lock || path.startsWith(`${join(lock, "..", ".lock.")}`)) return true;
  }
  return false;
}

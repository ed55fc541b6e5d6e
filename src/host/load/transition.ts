import { join } from "node:path";
import { exists } from "../../support/cache.ts";
import { KmendError, messageOf, systemErrorCode } from "../../support/errors.ts";
import type { Host } from "../kernel/host.ts";
import { type LoadedPatch, livepatchFolder, readLoadedPatch } from "../kernel/sysfs.ts";
import { countTasks, type PendingTask, pendingTasks } from "../kernel/tasks.ts";

/** Seconds that a transition gets before its tasks are signalled, and again after that. */
export const defaultTimeoutSeconds = 60;

/** How a wait for a transition goes on. */
export interface WaitOptions {
  readonly timeoutSeconds?: number | undefined;
  /** Is told how many tasks are left, about once a second. */
  readonly status?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How a wait for a transition ended. */
export type WaitOutcome = "done" | "stalled" | "interrupted";

/** Looks at the transition every so many milliseconds: soon at first, since most end within a second or two. */
const quickPoll = 40;
const slowPoll = 250;

/**
 * Waits until the transition of a patch is over, in whatever direction it goes. After the time limit the tasks are signalled once, where the kernel lets
 * user space do that, and get as long again.
 */
export async function waitForTransition(host: Host, name: string, options: WaitOptions): Promise<WaitOutcome> {
  const limit = (options.timeoutSeconds ?? defaultTimeoutSeconds) * 1000;
  const first = await waitOnce(host, name, limit, options);
  if (first !== "stalled") return first;
  const how = await signalTasks(host, name);
  options.status?.(
    how === "sent" ? "signalled the tasks that are left" : "the kernel signals the tasks that are left by itself",
  );
  return waitOnce(host, name, limit, options);
}

/**
 * Waits for a transition that was turned round. It gets the usual time at least, however short the operator's limit was: giving up on it would leave the patch
 * half applied. An interrupt does not end it either.
 */
export function waitForReversal(host: Host, name: string, options: WaitOptions): Promise<WaitOutcome> {
  const timeoutSeconds = Math.max(options.timeoutSeconds ?? 0, defaultTimeoutSeconds);
  return waitForTransition(host, name, { status: options.status, timeoutSeconds });
}

/** Waits for one time limit, in milliseconds. */
async function waitOnce(host: Host, name: string, limit: number, options: WaitOptions): Promise<WaitOutcome> {
  const started = host.now();
  let told = 0;
  for (;;) {
    const patch = await readLoadedPatch(host.root, name);
    if (patch === undefined || !inTransition(patch)) return "done";
    if (options.signal?.aborted === true) return "interrupted";
    const elapsed = host.now() - started;
    if (elapsed >= limit) return "stalled";
    if (options.status !== undefined && elapsed >= told) {
      const before = host.now();
      const count = countTasks(host.root, patch.state === "enabling");
      // Looking at very many tasks takes its time, which is not to hold up the transition's end.
      told = elapsed + Math.max(1000, 10 * (host.now() - before));
      if (count !== undefined) options.status(`${count.pending} of ${count.total} tasks still have to switch`);
    }
    await host.sleep(elapsed < 2000 ? quickPoll : slowPoll);
  }
}

/** Whether some tasks still have to switch. */
export function inTransition({ state }: Pick<LoadedPatch, "state">): boolean {
  return state === "enabling" || state === "disabling";
}

/** The tasks that hold up a transition, with the reason for each. */
export function whoHoldsUp(host: Pick<Host, "root">, patch: LoadedPatch): readonly PendingTask[] {
  const functions = new Set(patch.objects.flatMap((object) => object.functions.map(({ name }) => name)));
  return pendingTasks(host.root, patch.state === "enabling", functions);
}

/**
 * Asks the kernel to signal the tasks that have not switched. Kernels from 4.15 to 5.0 have a file for it; later ones do it by themselves every 15 seconds,
 * and earlier ones not at all.
 */
async function signalTasks(host: Host, name: string): Promise<"sent" | "automatic"> {
  const file = join(livepatchFolder, name, "signal");
  if (!(await exists(join(host.root, file)))) return "automatic";
  await host.writeState(file, "1");
  return "sent";
}

/** A busy kernel gets so many more chances, two seconds apart; in that time a short transition of another patch ends. */
const busyRetries = 5;
const busyPause = 2000;

/**
 * Turns a patch on or off through its `enabled` file; within a transition this turns it round.
 * @throws KmendError `STATE_REFUSED` when the kernel does not do it.
 */
export async function setEnabled(host: Host, name: string, enabled: boolean): Promise<void> {
  const file = join(livepatchFolder, name, "enabled");
  for (let tries = 0; ; tries++) {
    try {
      await host.writeState(file, enabled ? "1" : "0");
      return;
    } catch (error) {
      const code = systemErrorCode(error);
      const now = await readLoadedPatch(host.root, name);
      // It may have got there by itself, which the kernel answers with "invalid argument", or have gone with the end of its transition.
      if (now === undefined ? !enabled : enabledOrEnabling(now) === enabled) return;
      if (code === "EBUSY" && tries < busyRetries) {
        await host.sleep(busyPause);
        continue;
      }
      throw new KmendError({
        code: "STATE_REFUSED",
        message: `the kernel does not ${enabled ? "enable" : "disable"} ${name}`,
        where: file,
        why:
          code === "EBUSY"
            ? "another patch is in transition, or (before Linux 5.1) a patch that was loaded later is still active"
            : messageOf(error),
        hint: "kmend status shows what is going on; unload later patches first",
        cause: error,
      });
    }
  }
}

/** Whether a patch is in force or on its way there. */
export function enabledOrEnabling({ state }: Pick<LoadedPatch, "state">): boolean {
  return state === "enabled" || state === "enabling";
}

/** rmmod(8) may find a module in use for a moment after its patch has gone. Milliseconds. */
const unloadLimit = 15_000;
const unloadPause = 100;

/** Unloads the module of a patch that is no longer listed. @returns false when it stays in use. */
export async function unloadModule(host: Host, name: string): Promise<boolean> {
  const started = host.now();
  for (;;) {
    if (await host.removeModule(name)) return true;
    if (host.now() - started >= unloadLimit) return false;
    await host.sleep(unloadPause);
  }
}

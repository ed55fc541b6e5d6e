import { KmendError } from "../../support/errors.ts";
import type { Host } from "../kernel/host.ts";
import type { Steps } from "../kernel/steps.ts";
import { type PendingTask, tasksInside } from "../kernel/tasks.ts";
import type { LoadedOutcome } from "./load-module.ts";
import type { PatchFile } from "./patch-file.ts";
import { defaultTimeoutSeconds, type WaitOptions } from "./transition.ts";

/** Milliseconds between two looks at the stacks of all tasks. */
const pause = 200;

/**
 * Waits for a moment in which no task sleeps in a function that the patch changes, so that none holds up its transition. One that goes in after that moment does
 * so all the same.
 * @returns how the load ends without such a moment; undefined when it came.
 */
export async function waitUntilIdle(
  host: Host,
  { name, manifest }: PatchFile,
  steps: Steps,
  { timeoutSeconds = defaultTimeoutSeconds, status, signal }: WaitOptions,
): Promise<LoadedOutcome | undefined> {
  if (manifest === null) return { kind: "failed", error: untold(name), notes: [] };
  steps.tell(`wait up to ${timeoutSeconds} s until no task is in a function that ${name} changes; else load nothing`);
  if (steps.dryRun) return undefined;
  const functions = new Set(manifest.functions.map((one) => one.name));
  const started = host.now();
  for (;;) {
    const tasks = tasksInside(host.root, functions);
    if (tasks === undefined) return { kind: "failed", error: unreadable(), notes: [] };
    if (tasks.length === 0) return undefined;
    if (signal?.aborted === true) return { kind: "interrupted", notes: [] };
    if (host.now() - started >= timeoutSeconds * 1000) return neverIdle(name, timeoutSeconds, tasks);
    status?.(`${tasks.length} ${tasks.length === 1 ? "task is" : "tasks are"} in functions that the patch changes`);
    await host.sleep(pause);
  }
}

function neverIdle(name: string, seconds: number, tasks: readonly PendingTask[]): LoadedOutcome {
  const error = new KmendError({
    code: "NEVER_IDLE",
    message: `for ${seconds} s there was always a task in a function that ${name} changes`,
    why: "such a task holds the transition up until it leaves the function",
    hint: "nothing was changed; do what is said of the tasks, wait longer with --timeout, or load without --when-idle",
  });
  return { kind: "stalled", tasks, error, notes: [] };
}

function untold(name: string): KmendError {
  return new KmendError({
    code: "FUNCTIONS_UNKNOWN",
    message: `${name} was not made by kmend, so it does not say which functions it changes`,
    hint: "load it without --when-idle",
  });
}

function unreadable(): KmendError {
  return new KmendError({
    code: "STACKS_UNREADABLE",
    message: "no task's kernel stack can be read, so nothing shows when the tasks are elsewhere",
    hint: "load it without --when-idle",
  });
}

import { rethrowDiskErrors } from "../../support/cache.ts";
import type { Progress } from "../../support/progress.ts";
import { type RunOptions, type RunResult, run } from "../../support/run.ts";
import { plainEnvironment } from "./kbuild.ts";

/**
 * Runs a program that writes into a kernel tree. It and everything that it starts hold a lock on `guard` (flock(1): the lock lasts until the last
 * process that inherited it ends), so that after `kill -9` of kmend the next run can wait for what was left running.
 */
export function runGuarded(
  guard: string,
  program: string,
  args: readonly string[],
  options: RunOptions,
): Promise<RunResult> {
  return run("flock", ["--shared", "--no-fork", guard, program, ...args], options);
}

/** Returns when no program that was started by {@link runGuarded} runs any more. */
export async function waitForGuarded(guard: string, progress: Progress, signal?: AbortSignal): Promise<void> {
  const free = await run("flock", ["--nonblock", guard, "true"], { signal, allowFailure: true });
  if (free.exitCode !== 1) return;
  progress.note("waiting for programs that a killed run left behind in the kernel tree");
  await run("flock", [guard, "true"], { signal });
}

/** How make is run in a kernel tree. */
export interface MakeOptions {
  /** See {@link runGuarded}. */
  readonly guard: string;
  readonly log: string;
  readonly onOutput?: RunOptions["onOutput"];
  readonly signal: AbortSignal | undefined;
}

/**
 * Runs make's `goals` in a kernel tree of our own.
 * @returns undefined, or the lines that it printed when it failed.
 * @throws KmendError `DISK_FULL`
 */
export async function makeInTree(
  tree: string,
  goals: readonly string[],
  { guard, log, onOutput, signal }: MakeOptions,
): Promise<{ lines: string[]; cause: RunResult } | undefined> {
  const result = await runGuarded(guard, "make", goals, {
    cwd: tree,
    env: plainEnvironment(),
    cleanEnv: true,
    logFile: log,
    onOutput,
    signal,
    allowFailure: true,
  });
  signal?.throwIfAborted();
  if (result.exitCode === 0) return undefined;
  const lines = result.all.trimEnd().split("\n");
  if (lines.some((line) => /No space left on device/.test(line)))
    rethrowDiskErrors(new Error("No space left on device"));
  return { lines, cause: result };
}

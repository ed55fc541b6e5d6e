import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { expect } from "vitest";
import { ownIdentity } from "../../src/support/process-identity.ts";
import { SilentProgress } from "../../src/support/progress.ts";

/**
 * Expects work that needs a lock to say for whom it waits, and to end with the first interrupt. The lock is held by this process, which runs on.
 * @param start begins the work with a progress and the signal of an interrupt, which comes as soon as the wait is told.
 */
export async function expectInterruptibleWait(
  lock: string,
  start: (progress: SilentProgress, signal: AbortSignal) => Promise<unknown>,
): Promise<void> {
  mkdirSync(dirname(lock), { recursive: true });
  writeFileSync(lock, await ownIdentity());
  const interrupt = new AbortController();
  const progress = new SilentProgress();
  const note = progress.note.bind(progress);
  progress.note = (text): void => {
    note(text);
    interrupt.abort();
  };
  await expect(start(progress, interrupt.signal)).rejects.toMatchObject({ code: "INTERRUPTED", exitCode: 130 });
  expect(progress.notes).toEqual([expect.stringContaining(`process ${process.pid}`)]);
}

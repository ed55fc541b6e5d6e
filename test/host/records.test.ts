import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { withHostLock } from "../../src/host/installed/records.ts";
import { moduleProgramMark } from "../../src/host/kernel/module-programs.ts";
import type { OrphanWait } from "../../src/host/kernel/orphaned-programs.ts";

let root: string;
let children: ChildProcess[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-records-"));
  symlinkSync("/proc", join(root, "proc"));
  children = [];
});
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(root, { recursive: true });
});

/** A program that ends when its standard input does, with a file open as its number 9. */
async function program(env: Readonly<Record<string, string>>, held: string): Promise<ChildProcess> {
  const child = spawn("sh", ["-c", 'exec 9<"$0"; echo begun; exec cat', held], {
    env: { ...process.env, ...env },
    stdio: ["pipe", "pipe", "ignore"],
  });
  children.push(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  return child;
}

/** The lock that a killed kmend left, with a program that it had started. */
async function orphan(): Promise<ChildProcess> {
  const lock = join(root, "run/kmend/lock");
  mkdirSync(join(root, "run/kmend"), { recursive: true });
  writeFileSync(lock, "999999999 1 elsewhere");
  const child = await program(moduleProgramMark, lock);
  // Whoever takes the lock over renames and removes it.
  renameSync(lock, join(root, "run/kmend/.lock.1.00000000.tmp"));
  rmSync(join(root, "run/kmend/.lock.1.00000000.tmp"));
  return child;
}

/** Takes the lock. @returns the programs that were waited for. */
async function waitedFor(wait: OrphanWait = {}, onWait: () => void = () => {}): Promise<readonly string[]> {
  const programs: string[] = [];
  const tell = (name: string): void => {
    programs.push(name);
    onWait();
  };
  expect(await withHostLock(root, async () => "done", { ...wait, onWait: tell })).toBe("done");
  return programs;
}

test("what a killed kmend had copied for the kernel is gone before anything else is done", async () => {
  const copies = join(root, "run/kmend/insert");
  mkdirSync(copies, { recursive: true });
  writeFileSync(join(copies, "livepatch_fix.ko"), "");
  await withHostLock(root, async () => expect(existsSync(copies)).toBe(false));
});

test("what a killed kmend had started has ended before anything else is done", async () => {
  const child = await orphan();
  expect(await waitedFor({}, () => child.stdin?.end())).toEqual([`${child.pid}, cat of a kmend that was killed`]);
});

test("the wait has an end, which says for whom", async () => {
  const child = await orphan();
  await expect(withHostLock(root, async () => "done", { limit: 200 })).rejects.toMatchObject({
    code: "PROGRAM_WORKS",
    exitCode: 5,
    message: `process ${child.pid} (cat) still loads or unloads a module, after 0 s`,
  });
});

test("an interrupt ends the wait", async () => {
  await orphan();
  const interrupt = new AbortController();
  const waiting = withHostLock(root, async () => "done", { signal: interrupt.signal, onWait: () => interrupt.abort() });
  await expect(waiting).rejects.toMatchObject({ code: "INTERRUPTED", exitCode: 130 });
});

test("a mark in the environment of somebody who does not hold the lock file is nobody's business", async () => {
  await program(moduleProgramMark, "/dev/null");
  expect(await waitedFor()).toEqual([]);
});

test("a process that holds the file and has no mark is another kmend that looks at the lock", async () => {
  const other = join(root, "run/kmend/lock");
  mkdirSync(join(root, "run/kmend"), { recursive: true });
  writeFileSync(other, "999999999 1 elsewhere 0 pid:[1]");
  await program({}, other);
  rmSync(other);
  expect(await waitedFor()).toEqual([]);
});

test("nobody else can open the lock file, and so leave it open in a program that root runs for him", async () => {
  const mode = await withHostLock(root, async () => statSync(join(root, "run/kmend/lock")).mode & 0o777);
  expect(mode).toBe(0o600);
});

test("the folder in /run is nobody else's to write to, whatever it was", async () => {
  const before = process.umask(0);
  try {
    await waitedFor();
  } finally {
    process.umask(before);
  }
  const mode = (): number => statSync(join(root, "run/kmend")).mode & 0o777;
  expect(mode()).toBe(0o755);
  chmodSync(join(root, "run/kmend"), 0o777);
  await waitedFor();
  expect(mode()).toBe(0o755);
});

test("a link in its place is not followed", async () => {
  mkdirSync(join(root, "run"));
  symlinkSync(tmpdir(), join(root, "run/kmend"));
  await expect(withHostLock(root, async () => "done")).rejects.toMatchObject({ code: "RUN_FOLDER", exitCode: 5 });
});

import { execFileSync } from "node:child_process";
import {
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { withLock } from "../../src/support/cache.ts";
import { ownIdentity } from "../../src/support/process-identity.ts";

let folder: string;
let lock: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-lock-"));
  lock = join(folder, "lock");
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Takes the lock that is there, and ends the wait for it. */
async function take(): Promise<"taken" | "waited"> {
  const interrupt = new AbortController();
  let waited = false;
  const onWait = (): void => {
    waited = true;
    interrupt.abort();
  };
  const taken = await withLock(lock, async () => "taken" as const, { onWait, signal: interrupt.signal }).catch(
    (error: unknown) => {
      expect(error).toMatchObject({ code: "INTERRUPTED", exitCode: 130 });
      return "waited" as const;
    },
  );
  expect(waited).toBe(taken === "waited");
  return taken;
}

/** This process with other words at some places. */
async function identity(changes: Readonly<Record<number, string>>): Promise<string> {
  const words = (await ownIdentity()).split(" ");
  return words.map((word, place) => changes[place] ?? word).join(" ");
}

test.each<[string, () => void]>([
  ["an empty file, as after a loss of power", () => writeFileSync(lock, "")],
  ["a link to nowhere", () => symlinkSync(join(folder, "nowhere"), lock)],
  ["a pipe", () => execFileSync("mkfifo", [lock])],
  ["a folder", () => mkdirSync(lock)],
])("%s in the place of a lock is waited for as long as it may be new", async (_, make) => {
  make();
  expect(await take()).toBe("waited");
  lutimesSync(lock, 0, 0);
  expect(await take()).toBe("taken");
});

const boot = "00000000-0000-4000-8000-000000000000";

test("a lock says who holds it, in which boot, and where its number counts", async () => {
  const look = async (): Promise<void> => {
    const [pid, start, host, bootId, namespace] = readFileSync(lock, "utf8").split(" ");
    expect([pid, host]).toEqual([`${process.pid}`, hostname()]);
    expect(start).toMatch(/^\d+$/);
    expect(bootId).toMatch(/^[0-9a-f-]{36}$/);
    expect(namespace).toMatch(/^pid:\[\d+\]$/);
  };
  await withLock(lock, look, { onWait: () => expect.fail("it is free"), signal: undefined });
});

test.each<[string, Record<number, string>, "taken" | "waited"]>([
  ["a process that runs", {}, "waited"],
  ["a process that is gone", { 0: "999999999" }, "taken"],
  ["a number that another process has by now", { 1: "1" }, "taken"],
  ["a process of an earlier boot of this machine", { 3: boot }, "taken"],
  ["a machine of another name that is this one, as its boot tells", { 2: "renamed" }, "waited"],
  ["the same, and its process is gone", { 0: "999999999", 2: "renamed" }, "taken"],
  ["another machine", { 2: "elsewhere", 3: boot }, "waited"],
  ["another container of this machine", { 0: "7", 2: "container", 4: "pid:[1]" }, "waited"],
  ["a process that had no /proc to tell by", { 1: "gone", 3: "-", 4: "-" }, "waited"],
])("a fresh lock of %s", async (_, changes, outcome) => {
  writeFileSync(lock, await identity(changes));
  expect(await take()).toBe(outcome);
});

test.each<[string, Record<number, string>, "taken" | "waited"]>([
  ["a process that runs", {}, "waited"],
  ["another machine", { 2: "elsewhere", 3: boot }, "taken"],
  ["another container", { 0: "7", 2: "container", 4: "pid:[1]" }, "taken"],
  ["a process that had no /proc to tell by", { 1: "gone", 3: "-", 4: "-" }, "taken"],
])("a lock that nobody has touched for long, of %s", async (_, changes, outcome) => {
  writeFileSync(lock, await identity(changes));
  utimesSync(lock, new Date(0), new Date(0));
  expect(await take()).toBe(outcome);
});

test("a lock of an older kmend has no boot", async () => {
  const own = (await ownIdentity()).split(" ").slice(0, 3).join(" ");
  writeFileSync(lock, own);
  expect(await take()).toBe("waited");
  writeFileSync(lock, `${process.pid} 1 ${hostname()}`);
  expect(await take()).toBe("taken");
  writeFileSync(lock, "1 1 elsewhere");
  expect(await take()).toBe("waited");
  utimesSync(lock, new Date(0), new Date(0));
  expect(await take()).toBe("taken");
});

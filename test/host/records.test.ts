import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { moduleProgramMark } from "../../src/host/module-programs.ts";
import { withHostLock } from "../../src/host/records.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-records-"));
  symlinkSync("/proc", join(root, "proc"));
});
afterEach(() => rmSync(root, { recursive: true }));

test("what a killed kmend had started has ended before anything else is done", async () => {
  // Ends when its standard input does.
  const orphan = spawn("cat", [], {
    env: { ...process.env, ...moduleProgramMark },
    stdio: ["pipe", "ignore", "ignore"],
  });
  await new Promise((resolve) => orphan.once("spawn", resolve));
  const order: string[] = [];
  orphan.once("exit", () => order.push("ended"));
  await withHostLock(
    root,
    async () => {
      order.push("work");
    },
    (owner) => {
      order.push(owner);
      orphan.stdin?.end();
    },
  );
  expect(order.filter((event) => event !== "ended")).toEqual([`${orphan.pid}`, "work"]);
});

test("without such a program nobody waits", async () => {
  const waited: string[] = [];
  expect(
    await withHostLock(
      root,
      async () => "done",
      (owner) => waited.push(owner),
    ),
  ).toBe("done");
  expect(waited).toEqual([]);
});

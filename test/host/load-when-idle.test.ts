import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { LoadOptions } from "../../src/host/load/load.ts";
import { FakeHost } from "./fake-host.ts";
import { patchFile, type Wanted } from "./patch-files.ts";
import { load } from "./verbs.ts";

let host: FakeHost;
let folder: string;
beforeEach(() => {
  host = new FakeHost();
  folder = mkdtempSync(join(tmpdir(), "kmend-files-"));
});
afterEach(() => {
  host.dispose();
  rmSync(folder, { recursive: true });
});

function loadFile(wanted: Wanted, options: Partial<LoadOptions> = {}) {
  return load({ host, operands: [patchFile(folder, wanted)], ...options });
}

describe("a load that waits until the tasks are elsewhere", () => {
  test("begins when the last of them has left", async () => {
    host.task(77, "reader", -1, ["schedule", "foo", "vfs_read"]);
    host.task(78, "other", -1, ["schedule", "bar"]);
    let sleeps = 0;
    host.onSleep = () => {
      if (++sleeps === 3) {
        expect(host.done).toEqual([]);
        host.task(77, "reader", -1, ["schedule"]);
      }
    };
    const { exitCode, steps } = await loadFile({ name: "a" }, { whenIdle: true });
    expect(exitCode).toBe(0);
    expect(host.done).toEqual(["insmod a"]);
    expect(steps[0]).toBe("wait up to 60 s until no task is in a function that a changes; else load nothing");
    expect(sleeps).toBeGreaterThanOrEqual(3);
  });

  test("loads nothing when they never are", async () => {
    host.task(77, "reader", -1, ["schedule", "foo", "vfs_read"], "D");
    const { exitCode, outcome, modules } = await loadFile({ name: "a" }, { whenIdle: true, timeoutSeconds: 3 });
    expect({ exitCode, outcome }).toEqual({ exitCode: 6, outcome: "stalled" });
    expect(host.done).toEqual([]);
    expect(modules[0]).toMatchObject({ error: { code: "NEVER_IDLE" }, stalledTasks: [{ tid: 77, function: "foo" }] });
    expect(host.now()).toBeGreaterThanOrEqual(3000);
  });

  test("can be interrupted", async () => {
    host.task(77, "reader", -1, ["foo"]);
    const abort = new AbortController();
    host.onSleep = () => abort.abort();
    await expect(loadFile({ name: "a" }, { whenIdle: true, signal: abort.signal })).rejects.toMatchObject({
      exitCode: 130,
    });
    expect(host.done).toEqual([]);
  });

  test("loads nothing where it cannot see where they are", async () => {
    const { exitCode, modules } = await loadFile({ name: "a" }, { whenIdle: true });
    expect(exitCode).toBe(1);
    expect(modules[0]?.error?.code).toBe("STACKS_UNREADABLE");
    host.task(77, "reader", -1, ["schedule"]);
    const other = await loadFile({ name: "b", manifest: false }, { whenIdle: true });
    expect(other.modules[0]?.error?.code).toBe("FUNCTIONS_UNKNOWN");
    expect(host.done).toEqual([]);
  });

  test("only tells the step in a dry run", async () => {
    host.task(77, "reader", -1, ["foo"]);
    const { exitCode, steps } = await loadFile({ name: "a" }, { whenIdle: true, dryRun: true });
    expect([exitCode, steps[0]]).toEqual([
      0,
      "wait up to 60 s until no task is in a function that a changes; else load nothing",
    ]);
  });
});

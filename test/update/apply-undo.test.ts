import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { abortTexts, changeLines, stateLines, updateLines } from "../../src/cli/report/update-report.ts";
import { insertFailure } from "../../src/host/load/insert-failure.ts";
import { load } from "../../src/host/load/load.ts";
import { KmendError } from "../../src/support/errors.ts";
import {
  type AbortCode,
  appliedUpdates,
  applyUpdate,
  type UpdateChangeResult,
  undoUpdate,
} from "../../src/update/apply-undo.ts";
import { FakeHost } from "../host/fake-host.ts";
import { patchFile } from "../host/patch-files.ts";
import { sampleUpdate, type WantedUpdate } from "./sample-update.ts";

let host: FakeHost;
let folder: string;
const seen = new Set<AbortCode>();
beforeEach(() => {
  host = new FakeHost();
  folder = mkdtempSync(join(tmpdir(), "kmend-updates-"));
});
afterEach(() => {
  host.dispose();
  rmSync(folder, { recursive: true });
});

async function apply(wanted: WantedUpdate, partial = false): Promise<UpdateChangeResult & { sha256: string }> {
  const { path, sha256 } = await sampleUpdate(folder, wanted);
  return { ...(await applyUpdate({ path, host, partial, timeoutSeconds: 5 })), sha256 };
}

function undo(id: string): Promise<UpdateChangeResult> {
  return undoUpdate(id, { host, timeoutSeconds: 5 });
}

/** Requires that a change was given up for a cause, with that cause's paragraph and a line of its own. */
function expectCause(result: UpdateChangeResult, cause: AbortCode, detail: RegExp): void {
  seen.add(cause);
  expect(result).toMatchObject({ outcome: "aborted", cause });
  const lines = changeLines(result);
  expect(lines[0]).toBe(abortTexts[cause]);
  expect(lines.slice(1).join("\n")).toMatch(detail);
}

describe("an update", () => {
  test("is applied, seen, applied already, and undone by any form of its name", async () => {
    const wanted = { id: "a-1", description: "first line\nmore" };
    expect(await apply(wanted)).toMatchObject({ outcome: "applied", id: "a-1" });
    expect(updateLines(await appliedUpdates(host), false)).toEqual(["a-1: first line"]);
    expect(updateLines(await appliedUpdates(host), true)).toEqual(["a-1"]);
    const [state, , ...patch] = stateLines("ksplice_a_1", await appliedUpdates(host));
    expect(state).toBe("Ksplice id a-1 is present in the kernel and is applied.");
    expect(patch).toEqual(["--- a/x.c", "+++ b/x.c"]);
    expect(stateLines("b", [])).toEqual(["Ksplice id b is not present in the kernel."]);
    expect(await apply(wanted)).toMatchObject({ outcome: "already" });
    expect(await undo("ksplice-a-1")).toMatchObject({ outcome: "undone", id: "a-1" });
    expect(host.state).toEqual({ patches: [], modules: [] });
    expect(host.has("run/kmend/updates/a-1")).toBe(false);
    for (const id of ["a-1", "../a-1", "a-1.ko"]) expect(await undo(id)).toMatchObject({ outcome: "absent", id });
  });

  test("stays applied when its description cannot be kept, and that is told", async () => {
    host.write("run/kmend/updates", "not a folder");
    const result = await apply({ id: "a" });
    expect(result.outcome).toBe("applied");
    expect(result.notes.join()).toContain("cannot be kept");
  });

  test("goes on top of an earlier one, which stays until it is undone", async () => {
    const first = await apply({ id: "one" });
    expect(first.outcome).toBe("applied");
    const after = [{ id: "one", sha256: first.sha256 }];
    expect((await apply({ id: "one-more", after })).outcome).toBe("applied");
    expectCause(await undo("one"), "module_busy", /update one-more was built on top of update one/);
    expect((await undo("one_more")).outcome).toBe("undone");
    expect((await undo("one")).outcome).toBe("undone");
  });
});

describe("why an update is not applied", () => {
  afterEach(() => expect(host.done.filter((step) => step.startsWith("insmod"))).toEqual([]));

  test("another kernel", async () => {
    expectCause(await apply({ id: "a", release: "6.1.0-8-amd64" }), "no_match", /made for kernel 6\.1\.0-8-amd64/);
    expectCause(await apply({ id: "a", buildId: "ff" }), "no_match", /proven for the build ff/);
  });

  test("modules that are not loaded, unless it is partial", async () => {
    expectCause(await apply({ id: "a", functions: ["foo", "fuse:bar"] }), "target_not_loaded", /module fuse is not/);
  });

  test("earlier updates that are not there", async () => {
    const after = [{ id: "one", sha256: "0".repeat(64) }];
    expectCause(await apply({ id: "two", after }), "missing_update", /update one is not applied/);
  });

  test("a policy", async () => {
    host.write("sys/module/module/parameters/sig_enforce", "Y\n");
    expectCause(await apply({ id: "a" }), "forbidden", /signature/);
    host.write("proc/sys/kernel/modules_disabled", "1\n");
    expectCause(await apply({ id: "a", signed: true }), "forbidden", /disabled until the next boot/);
  });

  test("a system that is not ready", async () => {
    host.write("proc/sys/kernel/ftrace_enabled", "0\n");
    expectCause(await apply({ id: "a" }), "not_ready", /ftrace is switched off/);
    host.write("proc/sys/kernel/ftrace_enabled", "1\n");
    expectCause(await apply({ id: "a", depends: "fuse" }), "not_ready", /needs the module fuse/);
  });
});

test("what the kernel refuses without a known reason is told in its words", async () => {
  host.insertError = new KmendError({ code: "LOAD_FAILED", message: "Exec format error", why: "the kernel log" });
  expectCause(await apply({ id: "a" }), "unexpected", /Exec format error\n +the kernel log/);
});

test("an update whose own callback refuses it is told as that", async () => {
  host.insertModule = async (path) => {
    host.write("dev/kmsg", "4,5,100,-;livepatch: pre-patch callback failed for object 'vmlinux'\n");
    throw insertFailure(path, `insmod: can't insert '${path}': Device or resource busy`);
  };
  expectCause(await apply({ id: "a" }), "call_failed", /the patch's own callback refused \(-EBUSY\)/);
});

test("an update whose function another one changed since does not fit", async () => {
  expect((await apply({ id: "one", functions: ["foo", "bar"] })).outcome).toBe("applied");
  expectCause(
    await apply({ id: "other", functions: ["bar"] }),
    "no_match",
    /bar \(vmlinux\) was changed by ksplice_one/,
  );
  const after = [{ id: "one", sha256: "0".repeat(64) }];
  expectCause(await apply({ id: "two", after }), "missing_update", /another build of update one/);
  expectCause(await apply({ id: "one", build: "other" }), "no_match", /another build of ksplice_one is loaded/);
  expect(host.state.patches).toEqual(["ksplice_one"]);
});

test("without its target modules an update is applied partially", async () => {
  const wanted = { id: "a", functions: ["foo", "fuse:bar"] };
  const result = await apply(wanted, true);
  expect(result).toMatchObject({ outcome: "applied", notes: [expect.stringContaining("fuse is not loaded")] });
  expect((await undo("a")).outcome).toBe("undone");
});

test("tasks that stay are named with their functions, and nothing stays loaded", async () => {
  host.stuck = "enabling";
  host.task(77, "reader", 0, ["schedule", "foo", "vfs_read"]);
  const result = await apply({ id: "a" });
  expectCause(result, "code_busy", /Process reader\(pid 77, task 77\) is in foo/);
  expect(host.state).toEqual({ patches: [], modules: [] });
  expect(host.has("run/kmend/updates/a")).toBe(false);
  host.stuck = "disabling";
  expect((await apply({ id: "a" })).outcome).toBe("applied");
  host.task(77, "reader", 1, ["schedule", "foo", "vfs_read"]);
  expectCause(await undo("a"), "code_busy", /reader/);
  expect(host.state.patches).toEqual(["ksplice_a"]);
});

test("another transition has to be over first", async () => {
  await load({ host, operands: [patchFile(folder, { name: "other", functions: ["bar"], replace: false })] });
  expect((await apply({ id: "a" })).outcome).toBe("applied");
  host.write("sys/kernel/livepatch/other/transition", "1\n");
  expectCause(await apply({ id: "b", functions: ["baz"] }), "not_ready", /transition of other/);
  expectCause(await undo("a"), "not_ready", /transition of other/);
});

test("a module that cannot be removed is told as such, when it is undone and when it is applied again", async () => {
  expect((await apply({ id: "a" })).outcome).toBe("applied");
  host.busy = 100_000;
  expectCause(await undo("a"), "already_reversed", /stays in memory/);
  expect(await appliedUpdates(host)).toEqual([]);
  expectCause(await apply({ id: "a" }), "already_reversed", /ksplice_a/);
  expectCause(await undo("a"), "already_reversed", /stays in memory/);
  host.busy = 0;
  expect((await undo("a")).outcome).toBe("undone");
  expect((await apply({ id: "a" })).outcome).toBe("applied");
});

test("loading switched off keeps an update from being undone", async () => {
  expect((await apply({ id: "a" })).outcome).toBe("applied");
  host.write("proc/sys/kernel/modules_disabled", "1\n");
  expectCause(await undo("a"), "forbidden", /disabled until the next boot/);
});

test("only root changes the kernel", async () => {
  host.privileged = false;
  await expect(apply({ id: "a" })).rejects.toMatchObject({ code: "NOT_ROOT" });
});

afterAll(() => expect([...seen].sort()).toEqual(Object.keys(abortTexts).sort()));

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { insertFailure } from "../../src/host/load/insert-failure.ts";
import type { LoadOptions } from "../../src/host/load/load.ts";
import { KmendError } from "../../src/support/errors.ts";
import { FakeHost } from "./fake-host.ts";
import { patchFile, type Wanted } from "./patch-files.ts";
import { load, replace, unload } from "./verbs.ts";

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

function file(wanted: Wanted): string {
  return patchFile(folder, wanted);
}

function loadFile(wanted: Wanted, options: Partial<LoadOptions> = {}) {
  return load({ host, operands: [file(wanted)], ...options });
}

/** Codes of what a load of one module was refused for. */
async function refusalsOf(wanted: Wanted): Promise<readonly string[]> {
  const { modules, exitCode } = await loadFile(wanted);
  expect(host.done).toEqual([]);
  return [...(modules[0]?.refusals.map(({ code }) => code) ?? []), String(exitCode)];
}

test("a module is loaded, and in force when its transition is over", async () => {
  const { outcome, exitCode, modules, steps } = await loadFile({ name: "a" });
  expect({ outcome, exitCode }).toEqual({ outcome: "done", exitCode: 0 });
  expect(modules).toMatchObject([{ name: "a", outcome: "loaded", replaced: [], refusals: [] }]);
  expect(modules[0]?.milliseconds).toBeGreaterThanOrEqual(1500);
  expect(steps[0]).toBe(`insmod ${join(folder, "a.ko")}`);
  expect(host.state).toEqual({ patches: ["a"], modules: ["a"] });
  expect(JSON.parse(host.read("run/kmend/loaded/a.json"))).toMatchObject({ file: join(folder, "a.ko") });
  expect(host.has("run/kmend/lock")).toBe(false);
});

test("what the patch's own callback returned is told as that, and not as another transition", async () => {
  host.insertModule = async (path) => {
    host.write("dev/kmsg", "4,5,100,-;livepatch: pre-patch callback failed for object 'vmlinux'\n");
    throw insertFailure(path, `insmod: can't insert '${path}': Device or resource busy`);
  };
  const { modules, exitCode } = await loadFile({ name: "a" });
  expect(exitCode).toBe(1);
  expect(modules[0]).toMatchObject({ outcome: "failed", error: { code: "CALLBACK_REFUSED" } });
  expect(modules[0]?.error?.message).toContain("the patch's own callback refused (-EBUSY)");
  expect(JSON.stringify(modules[0]?.error)).not.toContain("another transition");
});

test("a dry run looks, tells the steps and does nothing", async () => {
  await loadFile({ name: "a", functions: ["foo"] });
  host.done.length = 0;
  const { steps, modules } = await loadFile({ name: "b", functions: ["foo"] }, { dryRun: true });
  expect(modules).toMatchObject([{ outcome: "planned" }]);
  expect(steps.map((step) => step.split(" ")[0])).toEqual(["insmod", "wait", "rmmod"]);
  expect(host.done).toEqual([]);
});

describe("what speaks against a load", () => {
  test("another release", async () => {
    expect(await refusalsOf({ name: "a", release: "6.1.0-8-amd64" })).toEqual(["OTHER_RELEASE", "4"]);
  });

  test("another build of the same release", async () => {
    expect(await refusalsOf({ name: "a", buildId: "ff" })).toEqual(["OTHER_BUILD", "4"]);
  });

  test("no signature where one is wanted", async () => {
    host.write("sys/module/module/parameters/sig_enforce", "Y\n");
    expect(await refusalsOf({ name: "a" })).toEqual(["UNSIGNED", "7"]);
    host.write("sys/module/module/parameters/sig_enforce", "N\n");
    host.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    expect(await refusalsOf({ name: "a" })).toEqual(["UNSIGNED", "7"]);
    expect((await loadFile({ name: "b", signed: true })).exitCode).toBe(0);
  });

  test("no lockdown is no reason", async () => {
    host.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
    expect((await loadFile({ name: "a" })).exitCode).toBe(0);
  });

  test("patch modules that it goes on top of", async () => {
    const after = [{ name: "first-one", sha256: "" }];
    expect(await refusalsOf({ name: "a", replace: false, after })).toEqual(["EARLIER_MISSING", "4"]);
    await loadFile({ name: "first-one", functions: ["bar"], replace: false });
    expect((await loadFile({ name: "a", replace: false, after })).exitCode).toBe(0);
    // One that is in memory without being in force does not count.
    await unload({ host, operands: ["a"] });
    host.write("sys/kernel/livepatch/first_one/enabled", "0\n");
    const { modules } = await loadFile({ name: "a", replace: false, after });
    expect(modules[0]?.refusals).toMatchObject([
      { code: "EARLIER_MISSING", why: expect.stringContaining("first-one, which is not active") },
    ]);
  });

  test("loading is switched off", async () => {
    host.write("proc/sys/kernel/modules_disabled", "1\n");
    expect(await refusalsOf({ name: "a" })).toEqual(["LOADING_SWITCHED_OFF", "7"]);
  });

  test("no live patching, no ftrace", async () => {
    rmSync(join(host.root, "sys/kernel/livepatch"), { recursive: true });
    host.write("proc/sys/kernel/ftrace_enabled", "0\n");
    expect(await refusalsOf({ name: "a" })).toEqual(["NO_LIVEPATCH", "FTRACE_OFF", "5"]);
  });

  test("a transition of another patch", async () => {
    await loadFile({ name: "a" });
    host.write("sys/kernel/livepatch/a/transition", "1\n");
    host.done.length = 0;
    expect(await refusalsOf({ name: "b", functions: ["foo"] })).toEqual(["TRANSITION_RUNNING", "5"]);
  });

  test("another build of the same name", async () => {
    await loadFile({ name: "a" });
    host.done.length = 0;
    expect(await refusalsOf({ name: "a", build: "2" })).toEqual(["OTHER_BUILD_LOADED", "4"]);
  });

  test("a module of that name that is no live patch", async () => {
    host.write("sys/module/a/initstate", "live\n");
    expect(await refusalsOf({ name: "a" })).toEqual(["NAME_TAKEN", "4"]);
  });

  test("a name that the kernel cannot keep", async () => {
    expect(await refusalsOf({ name: "a".repeat(56) })).toEqual(["MODULE_NAME_TOO_LONG", "4"]);
    expect((await loadFile({ name: "a".repeat(55) })).exitCode).toBe(0);
  });

  test("a module that it needs and one that it changes", async () => {
    host.write("sys/module/ext4/initstate", "coming\n");
    expect(await refusalsOf({ name: "a", depends: "fuse", functions: ["ext4:bar"] })).toEqual([
      "DEPENDENCY_MISSING",
      "OBJECT_UNSETTLED",
      "5",
    ]);
  });

  test("somebody else who changes the function's address", async () => {
    const lines = [
      "bar (1) R   \ttramp: 0x0 (a_tracer+0x0/0x10) ->a_tracer+0x0/0x10",
      "foo (1)   I  \ttramp: 0x0 (injector+0x0/0x10) ->injector+0x0/0x10",
    ];
    host.write("sys/kernel/tracing/enabled_functions", `${lines.join("\n")}\n`);
    expect(await refusalsOf({ name: "a" })).toEqual(["FTRACE_BUSY", "5"]);
    expect((await loadFile({ name: "b", functions: ["bar"] })).exitCode).toBe(0);
  });

  test("all reasons are told at once", async () => {
    host.write("sys/module/module/parameters/sig_enforce", "Y\n");
    expect(await refusalsOf({ name: "a", release: "5.10.0" })).toEqual(["OTHER_RELEASE", "UNSIGNED", "7"]);
  });

  test("nobody but root, and no file", async () => {
    await expect(load({ host, operands: ["nothing"] })).rejects.toMatchObject({ code: "NO_SUCH_MODULE", exitCode: 2 });
    writeFileSync(join(folder, "bad.ko"), "\x7fELF");
    await expect(load({ host, operands: [join(folder, "bad.ko")] })).rejects.toMatchObject({
      code: "NOT_A_PATCH_MODULE",
    });
    host.privileged = false;
    await expect(loadFile({ name: "a" })).rejects.toMatchObject({ code: "NOT_ROOT", exitCode: 5 });
    expect((await loadFile({ name: "a" }, { dryRun: true })).exitCode).toBe(0);
  });
});

describe("patches beside each other", () => {
  test("a function that a live patch redirects is no obstacle, and told", async () => {
    await loadFile({ name: "a", functions: ["foo", "bar"] });
    host.write("sys/kernel/tracing/enabled_functions", "foo (1)   I  \ttramp: 0x0 ->klp_ftrace_handler+0x0/0x110\n");
    const { modules } = await loadFile({ name: "b", replace: false, functions: ["foo"] });
    expect(modules[0]?.outcome).toBe("loaded");
    expect(modules[0]?.notes).toEqual(["b covers functions of a, whose version of them is no longer used: foo"]);
    expect(host.state.patches).toEqual(["a", "b"]);
  });

  test("a function that others of a loaded module call directly is not covered", async () => {
    await loadFile({ name: "a", functions: ["foo", "bar"], calledDirectly: ["foo"] });
    const { modules, exitCode } = await loadFile({ name: "b", replace: false, functions: ["foo"] });
    expect(modules[0]?.refusals.map(({ code }) => code)).toEqual(["CALLED_DIRECTLY"]);
    expect([exitCode, host.state.patches]).toEqual([4, ["a"]]);
    expect((await loadFile({ name: "c", replace: false, functions: ["bar"] })).exitCode).toBe(0);
  });

  test("a cumulative module that has all of it replaces and unloads the rest", async () => {
    await loadFile({ name: "a", functions: ["foo"], replace: false });
    await loadFile({ name: "b", functions: ["bar"], replace: false });
    const { modules } = await loadFile({ name: "c", functions: ["foo", "bar"] });
    expect(modules).toMatchObject([{ outcome: "loaded", replaced: ["a", "b"] }]);
    expect(host.state).toEqual({ patches: ["c"], modules: ["c"] });
    expect(host.has("run/kmend/loaded/a.json")).toBe(false);
  });

  test("and does so at the next call when the first was killed before it", async () => {
    await loadFile({ name: "a", functions: ["foo"], replace: false });
    const { removeModule } = host;
    host.removeModule = () => Promise.reject(new Error("kmend dies here"));
    await expect(loadFile({ name: "c", functions: ["foo"] })).rejects.toThrow("kmend dies here");
    host.removeModule = removeModule;
    expect(host.state.modules).toEqual(["a", "c"]);
    const planned = await loadFile({ name: "c", functions: ["foo"] }, { dryRun: true });
    expect(planned.steps).toEqual(["rmmod a"]);
    const { modules } = await loadFile({ name: "c", functions: ["foo"] });
    expect(modules).toMatchObject([{ outcome: "already", replaced: ["a"] }]);
    expect(host.state).toEqual({ patches: ["c"], modules: ["c"] });
  });

  test("one that lacks some is refused, and wanted by replace", async () => {
    await loadFile({ name: "a", functions: ["foo", "bar"], replace: false });
    const wanted = { name: "c", functions: ["foo"] };
    const refused = await loadFile(wanted);
    expect(refused.exitCode).toBe(4);
    expect(refused.modules[0]?.refusals).toMatchObject([
      { code: "TAKES_BACK_OTHERS", why: expect.stringContaining("bar (a)") },
    ]);
    const { modules } = await replace({ host, operands: [file(wanted)] });
    expect(modules).toMatchObject([{ outcome: "loaded", replaced: ["a"] }]);
  });

  test("replace refuses what is not cumulative, and what does not say", async () => {
    for (const wanted of [
      { name: "a", replace: false },
      { name: "b", manifest: false },
    ] as const) {
      const { modules, exitCode } = await replace({ host, operands: [file(wanted)] });
      expect(modules[0]?.refusals.map(({ code }) => code)).toEqual(["NOT_CUMULATIVE"]);
      expect(exitCode).toBe(4);
    }
  });
});

describe("a transition that does not end", () => {
  test("is signalled where the kernel has a file for it, taken back and unloaded", async () => {
    host.stuck = "enabling";
    host.task(1, "init", 1, []);
    host.task(77, "reader", 0, ["schedule", "foo", "vfs_read"], "D");
    const path = file({ name: "a" });
    host.onSleep = () => {
      if (host.has("sys/kernel/livepatch/a")) host.write("sys/kernel/livepatch/a/signal", "");
    };
    const { exitCode, outcome, modules } = await load({ host, operands: [path], timeoutSeconds: 10 });
    expect({ exitCode, outcome }).toEqual({ exitCode: 6, outcome: "stalled" });
    expect(host.done).toEqual(["insmod a", "1 >a/signal", "0 >a/enabled", "rmmod a"]);
    expect(host.state).toEqual({ patches: [], modules: [] });
    expect(modules[0]?.stalledTasks).toMatchObject([
      { tid: 77, name: "reader", function: "foo", inPatchedFunction: true, schedulerState: "D" },
    ]);
    expect(host.now()).toBeGreaterThanOrEqual(20_000);
  });

  test("ends as told when it stalls in both directions", async () => {
    host.stuck = "both";
    const { exitCode, modules } = await loadFile({ name: "a" }, { timeoutSeconds: 1 });
    expect(exitCode).toBe(6);
    expect(modules[0]?.error?.code).toBe("TAKING_BACK_STALLED");
    expect(host.done).not.toContain("rmmod a");
  });

  test("an interrupt takes it back", async () => {
    host.stuck = "enabling";
    const abort = new AbortController();
    host.onSleep = () => abort.abort();
    await expect(loadFile({ name: "a" }, { signal: abort.signal })).rejects.toMatchObject({ exitCode: 130 });
    expect(host.state).toEqual({ patches: [], modules: [] });
  });

  test("a load that was cut off is gone on with", async () => {
    const path = file({ name: "a" });
    await host.insertModule(path);
    const { modules } = await load({ host, operands: [path] });
    expect(modules).toMatchObject([{ outcome: "loaded" }]);
    expect(host.done).toEqual(["insmod a"]);
  });

  test("an insmod that outlives its kmend is waited for", async () => {
    const path = file({ name: "a" });
    await host.insertModule(path);
    const show = (state: string, value: string): void => {
      host.write("sys/module/a/initstate", `${state}\n`);
      for (const name of ["enabled", "transition"]) host.write(`sys/kernel/livepatch/a/${name}`, `${value}\n`);
    };
    show("coming", "0");
    host.onSleep = () => {
      if (host.read("sys/module/a/initstate") === "coming") show("live", "1");
    };
    const { modules } = await load({ host, operands: [path] });
    expect(modules[0]?.outcome).toBe("loaded");
    expect(host.done).toEqual(["insmod a"]);
  });

  test("a module that was left without its patch is unloaded first", async () => {
    const path = file({ name: "a" });
    await load({ host, operands: [path] });
    rmSync(join(host.root, "sys/kernel/livepatch/a"), { recursive: true });
    await load({ host, operands: [path] });
    expect(host.done).toEqual(["insmod a", "rmmod a", "insmod a"]);
  });

  test("what the kernel refuses leaves nothing behind", async () => {
    host.insertError = new KmendError({ code: "LOAD_FORBIDDEN", message: "no", exitCode: 7 });
    const { exitCode, modules } = await loadFile({ name: "a" });
    expect(exitCode).toBe(7);
    expect(modules).toMatchObject([{ outcome: "failed", error: { code: "LOAD_FORBIDDEN" } }]);
    expect(host.state).toEqual({ patches: [], modules: [] });
  });
});

test("what killed processes left in /run is removed by the next change", async () => {
  host.write("run/kmend/loaded/gone.json", "{}");
  host.write("run/kmend/loaded/.a.json.999999999.0123abcd.tmp", "{");
  host.write("run/kmend/.lock.999999999.0123abcd.tmp", "");
  await loadFile({ name: "a" });
  expect(host.names("run/kmend")).toEqual(["loaded"]);
  expect(host.names("run/kmend/loaded")).toEqual(["a.json"]);
});

describe("unload", () => {
  test("the newest first", async () => {
    for (const name of ["b", "a", "c"]) await loadFile({ name, replace: false, functions: [`f_${name}`] });
    host.done.length = 0;
    const { modules, exitCode } = await unload({ host, all: true });
    expect(modules.map(({ name }) => name)).toEqual(["c", "a", "b"]);
    expect(host.done.filter((step) => step.startsWith("rmmod"))).toEqual(["rmmod c", "rmmod a", "rmmod b"]);
    expect(exitCode).toBe(0);
    expect(host.state).toEqual({ patches: [], modules: [] });
  });

  test("a module that holds itself is taken out of force and stays in memory", async () => {
    const keptAddresses = ["f (x.c:1): it stores the address of g()"];
    await loadFile({ name: "a", keptAddresses });
    const { exitCode, outcome, modules } = await unload({ host, operands: ["a"] });
    expect([exitCode, outcome]).toEqual([0, "done"]);
    expect(modules).toMatchObject([{ name: "a", outcome: "disabled", error: null }]);
    expect(modules[0]?.notes.join()).toContain("a stays in memory until the next boot");
    expect(host.state).toEqual({ patches: [], modules: ["a"] });
    expect(host.done.filter((step) => step.startsWith("rmmod"))).toEqual([]);
    // Its name is taken until then, and there is nothing left to unload.
    const again = await loadFile({ name: "a", keptAddresses });
    expect(again.modules[0]?.refusals.map(({ code }) => code)).toEqual(["STAYS_IN_MEMORY"]);
    expect((await unload({ host, all: true })).modules).toEqual([]);
    // A cumulative one that is replaced stays as well; by the author's word it goes.
    await loadFile({ name: "b", keptAddresses });
    const replaced = await loadFile({ name: "c", keptAddresses, removable: true });
    expect(replaced.modules[0]?.notes.join()).toContain("b is replaced; its module stays in memory");
    expect((await unload({ host, operands: ["c"] })).modules).toMatchObject([{ outcome: "unloaded" }]);
    expect(host.state).toEqual({ patches: [], modules: ["a", "b"] });
  });

  test("waits for the module to be free", async () => {
    await loadFile({ name: "a" });
    host.busy = 3;
    expect((await unload({ host, operands: ["a"] })).exitCode).toBe(0);
    await loadFile({ name: "a" });
    host.busy = Number.POSITIVE_INFINITY;
    const { exitCode, modules } = await unload({ host, operands: ["a"] });
    expect(exitCode).toBe(1);
    expect(modules).toMatchObject([{ outcome: "failed", error: { code: "MODULE_IN_USE" } }]);
  });

  test("a stall leaves the patch in force", async () => {
    await loadFile({ name: "a" });
    host.stuck = "disabling";
    const { exitCode, modules } = await unload({ host, operands: ["a"], timeoutSeconds: 1 });
    expect(exitCode).toBe(6);
    expect(modules).toMatchObject([{ outcome: "stalled", notes: ["a is active as before"] }]);
    expect(host.read("sys/kernel/livepatch/a/enabled")).toBe("1");
  });

  test("takes a transition back that another command left", async () => {
    await host.insertModule(file({ name: "a" }));
    expect((await unload({ host, operands: ["a"] })).exitCode).toBe(0);
    expect(host.done).toEqual(["insmod a", "0 >a/enabled", "rmmod a"]);
  });

  test("a module that others use, one that is no patch, one that is not there", async () => {
    await loadFile({ name: "a" });
    host.folder("sys/module/a/holders/user");
    expect((await unload({ host, operands: ["a"] })).modules[0]?.refusals.map(({ code }) => code)).toEqual(["HELD_BY"]);
    host.write("sys/module/ext4/initstate", "live\n");
    expect((await unload({ host, operands: ["ext4"] })).modules[0]?.refusals[0]?.code).toBe("NO_LIVE_PATCH");
    expect((await unload({ host, operands: ["nothing"] })).exitCode).toBe(3);
  });
});

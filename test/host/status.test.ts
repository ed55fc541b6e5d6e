import { mkdtempSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { infoLines } from "../../src/cli/commands/info.ts";
import { listLines as kpatchLines } from "../../src/cli/compat/kpatch.ts";
import { listLines, statusLines } from "../../src/cli/report/status-report.ts";
import { readModuleInfo } from "../../src/host/kernel/patch-module-info.ts";
import { force, forceCost } from "../../src/host/load/force.ts";
import { signal } from "../../src/host/load/signal.ts";
import { prometheusText } from "../../src/host/status/prometheus.ts";
import { judgeHealth, readHostStatus } from "../../src/host/status/status.ts";
import { FakeHost } from "./fake-host.ts";
import { patchFile, release, type Wanted } from "./patch-files.ts";
import { load, unload } from "./verbs.ts";

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

async function loaded(wanted: Wanted): Promise<string> {
  const path = patchFile(folder, wanted);
  expect((await load({ host, operands: [path] })).exitCode).toBe(0);
  return path;
}

/** Puts a file where installed modules are; the file's owner does not matter here. */
function installed(wanted: Wanted): void {
  host.folder(`var/lib/kpatch/${wanted.release ?? release}`);
  patchFile(join(host.root, "var/lib/kpatch", wanted.release ?? release), wanted);
}

const plain = (_format: unknown, text: string): string => text;

describe("functions", () => {
  test("of stacked patches: the later one's version runs", async () => {
    await loaded({ name: "a", functions: ["foo", "bar"] });
    await loaded({ name: "b", functions: ["foo"], replace: false });
    const status = await readHostStatus(host);
    expect(status.loaded.map(({ functions }) => functions.map(({ name, state }) => `${name} ${state}`))).toEqual([
      ["bar patched", "foo covered"],
      ["foo patched"],
    ]);
  });

  test("of a module that is not loaded wait for it", async () => {
    await loaded({ name: "a", functions: ["ext4:foo"] });
    host.write("sys/kernel/livepatch/a/ext4/patched", "0\n");
    expect((await readHostStatus(host)).loaded[0]?.functions).toMatchObject([{ object: "ext4", state: "waiting" }]);
  });
});

describe("check", () => {
  test("all that is installed is in force, itself or through a later one", async () => {
    installed({ name: "a", functions: ["foo"] });
    installed({ name: "b", functions: ["foo", "bar"] });
    utimesSync(join(host.root, "var/lib/kpatch", release, "a.ko"), 60, 60);
    installed({ name: "old", release: "5.10.0-1-amd64" });
    await loaded({ name: "b", functions: ["foo", "bar"] });
    const status = await readHostStatus(host);
    expect(status.installed.map(({ name, state }) => `${name} ${state}`)).toEqual([
      "old other kernel",
      "a covered",
      "b in force",
    ]);
    expect(judgeHealth(status)).toEqual({ verdict: "good" });
  });

  test("a module that was installed after the one that covers its functions is missing", async () => {
    installed({ name: "b", functions: ["foo", "bar"] });
    installed({ name: "a", functions: ["foo"] });
    utimesSync(join(host.root, "var/lib/kpatch", release, "b.ko"), 60, 60);
    await loaded({ name: "b", functions: ["foo", "bar"] });
    expect(judgeHealth(await readHostStatus(host)).verdict).toBe("missing");
  });

  test("something is missing, or damaged", async () => {
    installed({ name: "a" });
    host.write(`var/lib/kpatch/${release}/bad.ko`, "x");
    const health = judgeHealth(await readHostStatus(host));
    expect(health).toMatchObject({ verdict: "missing" });
    expect("problems" in health && health.problems.toSorted()).toEqual([
      "a is installed, but not loaded",
      expect.stringMatching(/^bad is installed, but .* is not a patch module/),
    ]);
    rmSync(join(host.root, "sys/kernel/livepatch"), { recursive: true });
    expect(judgeHealth(await readHostStatus(host)).verdict).toBe("unable");
  });

  test("a transition is running", async () => {
    await host.insertModule(patchFile(folder, { name: "a" }));
    host.task(5, "worker", 0, ["schedule", "other"], "R");
    expect(judgeHealth(await readHostStatus(host))).toEqual({
      verdict: "transition",
      problems: ["a is enabling, 1 tasks left"],
    });
  });
});

describe("what is printed", () => {
  test("list and status", async () => {
    installed({ name: "c", functions: ["other"] });
    await loaded({ name: "a", functions: ["foo"] });
    await host.insertModule(patchFile(folder, { name: "b", functions: ["bar"], replace: false }));
    host.task(5, "worker", 0, ["schedule", "bar"], "D");
    const status = await readHostStatus(host);
    const list = listLines(status, plain).join("\n");
    expect(list).toMatch(
      /^Loaded patch modules:\n {2}a {2}enabled {3}since .* 1 function; cumulative; from a\.patch\n/,
    );
    expect(list).toContain(`Installed patch modules:\n  c  ${release} (running)  not loaded`);
    expect(list).toContain("Transition: b is enabling: 1 of 1 tasks still have to switch");
    expect(list).toContain("  worker (5), process, state D in bar (which the patch changes)");
    expect(statusLines(status, plain).join("\n")).toContain("Functions of a:\n  foo  vmlinux  patched");
    const kpatch = kpatchLines(status);
    expect(kpatch.slice(0, 3)).toEqual(["Loaded patch modules:", "a [enabled]", "b [enabling...]"]);
    expect(kpatch).toContain("5 worker");
    expect(kpatch.at(-1)).toBe(`c (${release})`);
  });

  test("modules that were left in memory", async () => {
    await loaded({ name: "a" });
    rmSync(join(host.root, "sys/kernel/livepatch/a"), { recursive: true });
    const status = await readHostStatus(host);
    expect(status.idle).toEqual([{ name: "a", references: 1 }]);
    expect(listLines(status, plain)[1]).toMatch(/^ {2}a {2}inactive .*in use \(kmend unload a\)$/);
  });

  test("info of a file, of an installed name, and of another build", async () => {
    const path = await loaded({ name: "a", functions: ["foo"] });
    const info = await readModuleInfo(path, host);
    expect(info).toMatchObject({ name: "a", sameBuild: true, loaded: { state: "enabled" }, file: { path } });
    expect(infoLines(info, plain).join("\n")).toContain("cumulative: replaces all loaded patch modules");
    patchFile(folder, { name: "a", build: "2" });
    expect((await readModuleInfo(path, host)).sameBuild).toBe(false);
    expect(await readModuleInfo("a", host)).toMatchObject({ file: null, manifest: { replace: true } });
    await expect(readModuleInfo("nothing", host)).rejects.toMatchObject({ code: "NO_SUCH_MODULE" });
  });

  test("info of a module that stays in memory, by its name and by its file", async () => {
    const path = await loaded({ name: "a", keptAddresses: ["f (x.c:1): it stores the address of g()"] });
    await unload({ host, operands: ["a"] });
    for (const operand of ["a", path]) {
      const info = await readModuleInfo(operand, host);
      expect(info).toMatchObject({ name: "a", loaded: null, idle: { name: "a", staysInMemory: true } });
      const lines = infoLines(info, plain).join("\n");
      expect(lines).toMatch(/state +inactive: replaced or reverted, stays in memory until the next boot\n/);
      expect(lines).toContain("it stores the address of g()");
    }
    expect((await readModuleInfo(path, host)).sameBuild).toBe(true);
  });

  test("metrics", async () => {
    installed({ name: "c", functions: ["other"] });
    await loaded({ name: "a", functions: ["foo", "bar"] });
    const text = prometheusText(await readHostStatus(host));
    expect(text).toContain('kmend_patch_functions{name="a",state="patched"} 2\n');
    expect(text).toContain('kmend_installed_in_force{name="c",state="not loaded"} 0\n');
    expect(text).toContain("kmend_transition_running 0\n");
    // A name with its value, or a comment: nothing else is allowed.
    for (const line of text.trimEnd().split("\n")) {
      expect(line).toMatch(/^(# (HELP|TYPE) kmend_\w+ .+|kmend_\w+(\{(\w+="[^"]*",?)+\})? [\d.]+)$/);
    }
  });
});

describe("force and signal", () => {
  test("force wants a transition and a confirmation that names the cost and the tasks", async () => {
    await loaded({ name: "a" });
    await expect(force({ host, operand: "a", confirmed: true })).rejects.toMatchObject({ code: "NOT_IN_TRANSITION" });
    await host.insertModule(patchFile(folder, { name: "b", functions: ["bar"], replace: false }));
    host.task(5, "worker", 0, ["bar"], "D");
    host.done.length = 0;
    await expect(force({ host, operand: "b", confirmed: false })).rejects.toMatchObject({
      code: "NOT_CONFIRMED",
      exitCode: 2,
      why: expect.stringMatching(/a crash may follow\n.*worker \(5\)/),
    });
    expect(host.done).toEqual([]);
    await host.writeState("/sys/kernel/livepatch/b/force", "0");
    host.done.length = 0;
    const result = await force({ host, operand: "b.ko", confirmed: true });
    expect(result).toMatchObject({ outcome: "forced", tasks: [{ tid: 5 }] });
    expect(host.done).toEqual(["1 >b/force"]);
  });

  test.each([
    ["enabling", false, "6.1.0-8-amd64", undefined],
    ["enabling", true, "6.1.0-8-amd64", "the modules that it replaces"],
    ["enabling", null, "6.12.1", "modules that it replaces, if it does,"],
    ["disabling", false, "5.19.0", "b"],
    ["enabling", false, "5.18.19", "b, and all other patch modules that are loaded now,"],
    ["enabling", false, "4.19.0", "b, and all other patch modules that are loaded now,"],
  ] as const)("force tells what stays in memory: %s, replace %s, %s", (state, replace, kernel, stays) => {
    const cost = forceCost({ name: "b", state, replace }, kernel);
    expect(/; (.*) can never be unloaded/.exec(cost)?.[1]).toBe(stays);
  });

  test("signal writes where the kernel has a file for it", async () => {
    expect((await signal({ host })).outcome).toBe("unchanged");
    await host.insertModule(patchFile(folder, { name: "a" }));
    expect(await signal({ host })).toMatchObject({ outcome: "automatic", name: "a" });
    host.write("sys/kernel/livepatch/a/signal", "");
    expect((await signal({ host, dryRun: true })).steps).toEqual(["echo 1 >/sys/kernel/livepatch/a/signal"]);
    expect((await signal({ host })).outcome).toBe("signalled");
    expect(host.done.at(-1)).toBe("1 >a/signal");
  });
});

describe("vulnerabilities that a module fixes", () => {
  test("are shown wherever the module is", async () => {
    const path = await loaded({ name: "a", cves: ["CVE-2026-1000", "CVE-2026-1001"] });
    installed({ name: "b", cves: ["CVE-2026-1002"] });
    const status = await readHostStatus(host);
    expect(status.loaded[0]?.cves).toEqual(["CVE-2026-1000", "CVE-2026-1001"]);
    expect(status.installed[0]?.cves).toEqual(["CVE-2026-1002"]);
    const fixes = /cumulative; from a\.patch; fixes CVE-2026-1000, CVE-2026-1001$/m;
    expect(listLines(status, plain).join("\n")).toMatch(fixes);
    expect(statusLines(status, plain).join("\n")).toMatch(fixes);
    const info = infoLines(await readModuleInfo(path, host), plain);
    expect(info.map((line) => line.trim())).toContainEqual(
      expect.stringMatching(/^fixes +CVE-2026-1000, CVE-2026-1001$/),
    );
  });

  test("a manifest with something else in their place is damaged", async () => {
    const path = patchFile(folder, { name: "a", cves: ["CVE-2026-1000; rm -rf /"] });
    await expect(load({ host, operands: [path] })).rejects.toMatchObject({ code: "MANIFEST_DAMAGED" });
  });
});

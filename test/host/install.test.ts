import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { install, uninstall } from "../../src/host/install.ts";
import { installedModules } from "../../src/host/installed.ts";
import { load } from "../../src/host/load.ts";
import { FakeHost } from "./fake-host.ts";
import { patchFile, release } from "./patch-files.ts";

let host: FakeHost;
let files: string;
beforeEach(() => {
  host = new FakeHost();
  files = mkdtempSync(join(tmpdir(), "kmend-files-"));
});
afterEach(() => {
  host.dispose();
  rmSync(files, { recursive: true });
});

const folder = `var/lib/kpatch/${release}`;
/** Only root may give a file to root. */
const asRoot = process.getuid?.() === 0 ? test : test.skip;

asRoot("a module is written with mode and owner, whole", async () => {
  const path = patchFile(files, { name: "livepatch-a" });
  const { modules, exitCode } = await install({ host, operands: [path] });
  const installed = join(host.root, folder, "livepatch-a.ko");
  expect(exitCode).toBe(0);
  expect(modules).toMatchObject([{ name: "livepatch_a", path: installed, outcome: "installed" }]);
  expect(readFileSync(installed).equals(readFileSync(path))).toBe(true);
  const { mode, uid, gid } = statSync(installed);
  expect({ mode: mode & 0o7777, uid, gid }).toEqual({ mode: 0o644, uid: 0, gid: 0 });
  expect(readdirSync(join(host.root, folder))).toEqual(["livepatch-a.ko"]);
});

asRoot("a second time changes nothing, another build takes its place", async () => {
  await install({ host, operands: [patchFile(files, { name: "a" })] });
  expect((await install({ host, operands: [join(files, "a.ko")] })).modules[0]?.outcome).toBe("already");
  const { modules } = await install({ host, operands: [patchFile(files, { name: "a", build: "2" })] });
  expect(modules).toMatchObject([
    { outcome: "installed", notes: [expect.any(String), expect.stringContaining("another build")] },
  ]);
});

asRoot("what a killed install left is swept by the next, and never listed", async () => {
  await install({ host, operands: [patchFile(files, { name: "a" })] });
  // No process has this number: the largest is 4194304.
  host.write(`${folder}/.b.ko.99999999.01234567.tmp`, "half");
  expect((await installedModules(host.root, release)).map(({ file }) => file)).toEqual(["a.ko"]);
  await install({ host, operands: [patchFile(files, { name: "c" })] });
  expect(readdirSync(join(host.root, folder))).toEqual(["a.ko", "c.ko"]);
});

describe("what speaks against an install", () => {
  test.each([
    ["another release", { name: "a", release: "6.1.0-8-amd64" }, ["OTHER_RELEASE"]],
    ["another build of the running kernel", { name: "a", buildId: "ff" }, ["OTHER_BUILD"]],
  ] as const)("%s", async (_, wanted, codes) => {
    const { modules, exitCode } = await install({ host, operands: [patchFile(files, wanted)] });
    expect(modules[0]?.refusals.map(({ code }) => code)).toEqual(codes);
    expect(exitCode).toBe(4);
    expect(host.has("var/lib/kpatch")).toBe(false);
  });

  asRoot("a kernel that is not running need only have the release", async () => {
    const path = patchFile(files, { name: "a", release: "6.1.0-8-amd64", buildId: "ff" });
    const { modules } = await install({ host, operands: [path], kernel: "6.1.0-8-amd64" });
    expect(modules[0]).toMatchObject({
      outcome: "installed",
      notes: [expect.stringContaining("no modules of a kernel")],
    });
  });

  asRoot("the same module under another file name", async () => {
    await install({ host, operands: [patchFile(files, { name: "live-patch" })] });
    const { modules } = await install({ host, operands: [patchFile(files, { name: "live_patch" })] });
    expect(modules[0]?.refusals).toMatchObject([
      { code: "INSTALLED_AS", why: expect.stringContaining("live-patch.ko") },
    ]);
  });

  test("a release that leads elsewhere", async () => {
    host.write("etc/a.ko", "");
    for (const change of [install, uninstall]) {
      await expect(change({ host, operands: ["a"], kernel: "../../../etc" })).rejects.toMatchObject({ code: "USAGE" });
    }
    expect(host.has("etc/a.ko")).toBe(true);
  });

  test("anybody but root", async () => {
    host.privileged = false;
    const operands = [patchFile(files, { name: "a" })];
    await expect(install({ host, operands })).rejects.toMatchObject({ code: "NOT_ROOT" });
    const { steps } = await install({ host, operands, dryRun: true });
    expect(steps.map((step) => step.split(" ")[0])).toEqual(["mkdir", "write", "mv"]);
    expect(host.has("var/lib/kpatch")).toBe(false);
  });
});

test("a kernel with SELinux wants a label", async () => {
  host.write("sys/fs/selinux/enforce", "1\n");
  const { steps } = await install({ host, operands: [patchFile(files, { name: "a" })], dryRun: true });
  expect(steps[2]).toMatch(/^chcon -t modules_object_t /);
});

asRoot("load --all goes by the time of installation, and one that is damaged keeps no other out", async () => {
  for (const [name, minute] of [
    ["z", 1],
    ["a", 2],
  ] as const) {
    await install({ host, operands: [patchFile(files, { name, replace: false, functions: [name] })] });
    utimesSync(join(host.root, folder, `${name}.ko`), minute * 60, minute * 60);
  }
  host.write(`${folder}/bad.ko`, "not a module");
  utimesSync(join(host.root, folder, "bad.ko"), 90, 90);
  const { modules, exitCode } = await load({ host, all: true });
  expect(modules.map(({ name, outcome }) => `${name} ${outcome}`)).toEqual(["z loaded", "bad.ko failed", "a loaded"]);
  expect(exitCode).toBe(1);
});

asRoot("uninstall takes a name or a file, and leaves no empty folder", async () => {
  await install({ host, operands: ["livepatch-a", "livepatch-b"].map((name) => patchFile(files, { name })) });
  expect((await uninstall({ host, operands: ["livepatch_a"] })).modules).toMatchObject([{ outcome: "uninstalled" }]);
  expect(readdirSync(join(host.root, folder))).toEqual(["livepatch-b.ko"]);
  await uninstall({ host, operands: ["/anywhere/livepatch-b.ko"] });
  expect(host.has("var/lib/kpatch")).toBe(false);
  expect((await uninstall({ host, operands: ["livepatch-b"] })).exitCode).toBe(3);
});

import { createHash } from "node:crypto";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { installedModules } from "../../src/host/installed/installed.ts";
import { readHostStatus } from "../../src/host/status/status.ts";
import { FakeHost } from "./fake-host.ts";
import { buildId, patchFile, release } from "./patch-files.ts";
import { install, load, uninstall } from "./verbs.ts";

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
  // An uninstall that was killed may have come no further.
  host.folder(folder);
  expect((await uninstall({ host, operands: ["livepatch-b"] })).exitCode).toBe(3);
  expect(host.has("var/lib/kpatch")).toBe(false);
});

describe("what an install says of the next boot", () => {
  const units = "usr/lib/systemd/system";

  async function said(): Promise<string> {
    return (await install({ host, operands: [patchFile(files, { name: "a" })], dryRun: true })).boot.text;
  }

  test("a system without systemd", async () => {
    expect(await said()).toMatch(/no systemd, so nothing loads it at boot unless a boot script calls kmend boot/);
  });

  test("no service, an enabled one, a masked one", async () => {
    host.folder(units);
    expect(await said()).toMatch(/there is no kmend\.service, so nothing loads it at boot/);
    host.write(`${units}/kmend.service`, "[Unit]\n");
    expect(await said()).toMatch(/not enabled, .*systemctl enable kmend\.service/);
    host.folder("etc/systemd/system/multi-user.target.wants");
    symlinkSync(
      "/usr/lib/systemd/system/kmend.service",
      join(host.root, "etc/systemd/system/multi-user.target.wants/kmend.service"),
    );
    expect(await said()).toBe(`kmend.service loads it when ${release} is booted`);
    host.write("proc/cmdline", "ro kmend.enable=0\n");
    expect(await said()).toMatch(/; kmend\.enable=0 is on the kernel's command line now/);
    symlinkSync("/dev/null", join(host.root, "etc/systemd/system/kmend.service"));
    expect(await said()).toMatch(/^kmend\.service is masked/);
  });

  test("the service of the kpatch package", async () => {
    host.write(`${units}/kpatch.service`, "[Unit]\n");
    expect(await said()).toMatch(/^there is no kmend\.service/);
    host.write("etc/systemd/system/multi-user.target.wants/kpatch.service", "");
    expect(await said()).toMatch(/^kpatch\.service loads it when .* without kmend's care/);
  });
});

describe("--initramfs", () => {
  let programs: string;
  let path: string | undefined;
  beforeEach(() => {
    programs = mkdtempSync(join(tmpdir(), "kmend-programs-"));
    path = process.env["PATH"];
    process.env["PATH"] = `${programs}:${path}`;
  });
  afterEach(() => {
    process.env["PATH"] = path;
    rmSync(programs, { recursive: true });
  });

  /** A stand-in for update-initramfs that notes how it was called and what was listed then. */
  function system(exitCode = 0): void {
    const plan = join(host.root, "var/lib/kmend/initramfs", release);
    const lines = `#!/bin/sh\necho "$@" >>${programs}/calls\ncat ${plan} >>${programs}/calls 2>/dev/null\necho broken\nexit ${exitCode}\n`;
    writeFileSync(join(programs, "update-initramfs"), lines, { mode: 0o755 });
    host.write("usr/share/initramfs-tools/hooks/kmend", "#!/bin/sh\n");
    host.write("usr/lib/systemd/system/kmend.service", "[Unit]\n");
    host.write("etc/systemd/system/multi-user.target.wants/kmend.service", "");
    host.folder(`lib/modules/${release}`);
  }

  test("wants a hook and the service", async () => {
    const { modules, exitCode } = await install({
      host,
      operands: [patchFile(files, { name: "a" })],
      initramfs: true,
      dryRun: true,
    });
    expect(modules[0]?.refusals.map(({ code }) => code)).toEqual(["NO_INITRAMFS_HOOK", "NO_BOOT_SERVICE"]);
    expect(exitCode).toBe(5);
  });

  asRoot("lists all that is installed, and makes the image anew at each change", async () => {
    system();
    const [a, b] = [patchFile(files, { name: "live-a" }), patchFile(files, { name: "b", manifest: false })];
    expect((await install({ host, operands: [a] })).boot.initramfs).toBe("none");
    utimesSync(join(host.root, folder, "live-a.ko"), 60, 60);
    const { boot } = await install({ host, operands: [b], initramfs: true });
    expect(boot).toMatchObject({ initramfs: "updated", error: null });
    expect(boot.text).toMatch(/; its initramfs loads what is installed for it first$/);
    const digest = (file: string): string => createHash("sha256").update(readFileSync(file)).digest("hex");
    const lines = [`live_a live-a.ko ${digest(a)} ${buildId} -`, `b b.ko ${digest(b)} - -`];
    const calls = (): string[] => readFileSync(join(programs, "calls"), "utf8").trim().split("\n");
    expect(calls()).toEqual([`-u -k ${release}`, ...lines]);
    expect(host.has(`var/lib/kmend/boot/${release}`), "a place for the records").toBe(true);
    rmSync(join(programs, "calls"));
    await uninstall({ host, operands: ["live-a"] });
    expect(calls()).toEqual([`-u -k ${release}`, lines[1]]);
    rmSync(join(programs, "calls"));
    expect((await uninstall({ host, operands: ["live-a"] })).exitCode).toBe(3);
    expect(existsSync(join(programs, "calls")), "nothing has changed").toBe(false);
    // As an uninstall leaves it that is killed just then.
    rmSync(join(host.root, folder, "b.ko"));
    expect((await uninstall({ host, operands: ["b"] })).exitCode).toBe(3);
    expect(calls()).toEqual([`-u -k ${release}`]);
    expect(host.has(`var/lib/kmend/initramfs/${release}`)).toBe(false);
  });

  asRoot("an image that cannot be made is a failure, and the module is installed all the same", async () => {
    system(1);
    const { boot, exitCode, modules } = await install({
      host,
      operands: [patchFile(files, { name: "a" })],
      initramfs: true,
    });
    expect(exitCode).toBe(1);
    expect(modules).toMatchObject([{ outcome: "installed" }]);
    expect(boot).toMatchObject({ initramfs: "failed", error: { code: "INITRAMFS_FAILED", why: "broken" } });
  });

  asRoot("a kernel that is not there yet gets it with its own image", async () => {
    system();
    rmSync(join(host.root, "lib/modules"), { recursive: true });
    const { boot } = await install({ host, operands: [patchFile(files, { name: "a" })], initramfs: true });
    expect(boot.initramfs).toBe("with its kernel");
    expect(host.has(`var/lib/kmend/initramfs/${release}`)).toBe(true);
    expect(existsSync(join(programs, "calls"))).toBe(false);
  });
});

asRoot("an install lets the next boot try a module again that was held back", async () => {
  const operands = [patchFile(files, { name: "a" })];
  await install({ host, operands });
  host.write(`var/lib/kmend/boot/${release}/a`, "");
  expect((await readHostStatus(host)).installed).toMatchObject([{ state: "held back" }]);
  const { modules } = await install({ host, operands });
  expect(modules).toMatchObject([
    { outcome: "already", notes: [expect.any(String), expect.stringContaining("forgotten")] },
  ]);
  expect((await readHostStatus(host)).installed).toMatchObject([{ state: "not loaded" }]);
});

asRoot("and of another build only once that is in its place", async () => {
  await install({ host, operands: [patchFile(files, { name: "a" })] });
  host.write(`var/lib/kmend/boot/${release}/a`, "");
  const { steps } = await install({ host, operands: [patchFile(files, { name: "a", build: "2" })] });
  expect(steps.map((step) => step.split(" ")[0])).toEqual(["mkdir", "write", "mv", "rm"]);
});

asRoot("an uninstall that was killed in the middle is ended by the next one", async () => {
  await install({ host, operands: [patchFile(files, { name: "a" })] });
  const record = `var/lib/kmend/boot/${release}/a`;
  host.write(record, "");
  rmSync(join(host.root, folder, "a.ko"));
  const { modules, exitCode } = await uninstall({ host, operands: ["a.ko"] });
  expect(modules).toMatchObject([{ outcome: "absent" }]);
  expect(exitCode).toBe(3);
  expect(host.has(record)).toBe(false);
  expect(host.has("var/lib/kpatch")).toBe(false);
});

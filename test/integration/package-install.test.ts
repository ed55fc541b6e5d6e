import { copyFileSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { kmend } from "../cli/captured.ts";
import { smallModule } from "../update/small-module.ts";
import { FreshRoot, providerDeb, providerRpm } from "./fresh-root.ts";
import { Scratch } from "./stock-kernel.ts";

const release = "6.1.0-1-amd64";
const scratch = new Scratch();
let root: FreshRoot;
/** Packages of two versions whose modules have names of their own, as cumulative ones have. */
const rpms: string[] = [];
const debs: string[] = [];
let shell: string;

beforeAll(async () => {
  for (const [index, version] of ["2", "10"].entries()) {
    const module = smallModule(scratch.folder(), { name: `kpatch-fix-1-${version}`, release, text: version });
    for (const [format, list] of [
      ["rpm", rpms],
      ["deb", debs],
    ] as const) {
      list[index] = await packaged(module, format, "--profile", "kpatch-patch", "--set-release", version);
    }
  }
  shell = providerRpm(scratch.folder(), "base", ["/bin/sh", `/lib/modules/${release}/modules.builtin`]);
});
afterEach(() => root.remove());
afterAll(() => scratch.remove());

async function packaged(module: string, format: string, ...options: string[]): Promise<string> {
  const output = scratch.folder();
  const { exitCode, stderr } = await kmend("package", "--format", format, "--output", output, ...options, module);
  expect(exitCode, stderr).toBe(0);
  return join(output, readdirSync(output)[0] as string);
}

const staged = (version: string) => `var/lib/kpatch/${release}/kpatch-fix-1-${version}.ko`;
const state = `var/lib/kmend/packages/kpatch-patch-${release}`;

/** The same life of a package with either manager. */
const managers = [
  {
    name: "rpm",
    base: () => root.rpm("-i", shell),
    install: (index: number) => root.rpm("-U", rpms[index] as string),
    downgrade: () => root.rpm("-U", "--oldpackage", rpms[0] as string),
    remove: () => root.rpm("-e", "kpatch-patch-6_1_0-1-amd64"),
    fails: (exitCode: number) => exitCode !== 0,
  },
  {
    name: "dpkg",
    base: () => root.dpkg("-i", providerDeb(scratch.folder(), `linux-image-${release}`)),
    install: (index: number) => root.dpkg("-i", debs[index] as string),
    downgrade: () => root.dpkg("-i", debs[0] as string),
    remove: () => root.dpkg("-P", `kpatch-patch-${release}`),
    fails: (exitCode: number) => exitCode !== 0,
  },
] as const;

describe.each(managers)("with $name", ({ base, install, downgrade, remove }) => {
  function prepare(running: string): void {
    root = new FreshRoot(running);
    expect(base(), "the kernel's package").toMatchObject({ exitCode: 0 });
  }

  test("where its kernel runs, the module is loaded, replaced on upgrade, and stays loaded on removal", () => {
    prepare(release);
    const first = install(0);
    expect(first, first.output).toMatchObject({ exitCode: 0 });
    expect(first.output).toContain("kpatch_fix_1_2 is loaded");
    expect(root.bytes(staged("2"))).toEqual(root.bytes(`usr/lib/kpatch/${release}/kpatch-fix-1-2.ko`));
    expect(root.read(state)).toMatch(/^version=1-2\noutcome=loaded\n/);

    expect(install(1)).toMatchObject({ exitCode: 0 });
    expect(root.read("etc/insmod.log")).toBe(`/${staged("2")}\n/${staged("10")}\n`);
    expect(root.has(staged("2")), "only the new module is loaded at the next boot").toBe(false);
    expect(root.has(staged("10"))).toBe(true);
    expect(root.read(state)).toMatch(/^version=1-10\noutcome=loaded\n/);

    const older = downgrade();
    expect(older.exitCode).not.toBe(0);
    expect(older.output).toContain("version 1-2 is older than the installed 1-10");
    expect(root.has(staged("10"))).toBe(true);
    expect(root.read(state)).toMatch(/^version=1-10\n/);

    const removal = remove();
    expect(removal).toMatchObject({ exitCode: 0 });
    expect(removal.output).toContain("kpatch_fix_1_10 stays loaded until the next boot");
    expect(root.read("sys/kernel/livepatch/kpatch_fix_1_10/enabled")).toBe("1\n");
    for (const gone of [staged("10"), `var/lib/kpatch/${release}`, `usr/lib/kpatch`, state])
      expect(root.has(gone)).toBe(false);

    const again = install(0);
    expect(again.output).toContain("the newer version 1-10 is loaded; 1-2 takes effect after a reboot");
    expect(root.has(staged("2"))).toBe(true);
    expect(root.read("etc/insmod.log").split("\n")).toHaveLength(3);
  });

  test("where another kernel runs, the module is staged only", () => {
    prepare("6.1.0-2-amd64");
    expect(install(0)).toMatchObject({ exitCode: 0 });
    expect(root.has(staged("2"))).toBe(true);
    expect(root.read("etc/insmod.log")).toBe("");
    expect(root.read(state)).toMatch(/outcome=staged/);
  });

  test("a module that cannot be loaded fails no transaction; what happened is shown and kept", () => {
    prepare(release);
    root.write("etc/insmod-fails", "");
    const installed = install(0);
    expect(installed).toMatchObject({ exitCode: 0 });
    expect(installed.output).toContain("kpatch_fix_1_2 could not be loaded: insmod: ERROR: could not insert module");
    expect(root.read(state)).toMatch(/outcome=failed\nmessage=kpatch_fix_1_2 could not be loaded: insmod/);
    expect(root.has(staged("2"))).toBe(true);
  });

  test("kpatch does the work where it is installed", () => {
    prepare(release);
    root.program(
      "kpatch",
      `echo "$*" >>/etc/kpatch.log
case $1 in
install) mkdir -p "/var/lib/kpatch/$3" && cp "$4" "/var/lib/kpatch/$3/" ;;
load) insmod "$2" ;;
esac`,
    );
    expect(install(0)).toMatchObject({ exitCode: 0 });
    expect(root.read("etc/kpatch.log")).toBe(
      `install --kernel-version ${release} /usr/lib/kpatch/${release}/kpatch-fix-1-2.ko\nload /${staged("2")}\n`,
    );
    expect(root.read(state)).toMatch(/outcome=loaded/);
    expect(remove()).toMatchObject({ exitCode: 0 });
    expect(root.read("etc/kpatch.log")).toContain(`uninstall --kernel-version ${release} kpatch-fix-1-2.ko`);
  });

  test("on a host with SELinux the service loads it", () => {
    prepare(release);
    root.write("sys/fs/selinux/enforce", "1");
    root.program(
      "systemctl",
      `echo "$*" >>/etc/systemctl.log
[ "$2" = kpatch.service ] || exit 1
[ "$1" = restart ] && insmod /${staged("2")}
exit 0`,
    );
    expect(install(0)).toMatchObject({ exitCode: 0 });
    expect(root.read("etc/systemctl.log")).toBe("cat kmend.service\ncat kpatch.service\nrestart kpatch.service\n");
    expect(root.read(state)).toMatch(/outcome=loaded/);
  });
});

test("another build of the loaded module takes effect after a reboot only", async () => {
  root = new FreshRoot(release);
  expect(root.rpm("-i", shell)).toMatchObject({ exitCode: 0 });
  const folder = scratch.folder();
  const packages: string[] = [];
  for (const version of ["1", "2"]) {
    const module = smallModule(join(folder, version), { name: "livepatch-same", release, text: version });
    packages.push(await packaged(module, "rpm", "--set-release", version));
  }
  root.rpm("-U", packages[0] as string);
  mkdirSync(join(root.path, "sys/module/livepatch_same/notes"), { recursive: true });
  root.write("sys/module/livepatch_same/notes/.note.gnu.build-id", "the first one's");
  const upgrade = root.rpm("-U", packages[1] as string);
  expect(upgrade).toMatchObject({ exitCode: 0 });
  expect(upgrade.output).toContain("another build of livepatch_same is loaded; this one takes effect after a reboot");
  expect(root.bytes(`var/lib/kpatch/${release}/livepatch-same.ko`)).toEqual(
    readFileSync(join(folder, "2", "livepatch-same.ko")),
  );
});

test("--no-activate only stages", async () => {
  root = new FreshRoot(release);
  expect(root.rpm("-i", shell)).toMatchObject({ exitCode: 0 });
  const module = smallModule(scratch.folder(), { name: "livepatch-quiet", release });
  expect(root.rpm("-i", await packaged(module, "rpm", "--no-activate"))).toMatchObject({ exitCode: 0 });
  expect(root.has(`var/lib/kpatch/${release}/livepatch-quiet.ko`)).toBe(true);
  expect(root.read("etc/insmod.log")).toBe("");
});

test("an empty package subscribes to live patches of a kernel and is upgraded by the first", async () => {
  root = new FreshRoot(release);
  expect(root.rpm("-i", shell)).toMatchObject({ exitCode: 0 });
  const output = scratch.folder();
  expect(await kmend("package", "--format", "rpm", "--empty", release, "-o", output)).toMatchObject({ exitCode: 0 });
  const empty = join(output, "kpatch-patch-6_1_0-1-amd64-0-0.x86_64.rpm");
  copyFileSync(empty, join(scratch.folder(), "empty.rpm"));
  expect(root.rpm("-i", empty)).toMatchObject({ exitCode: 0 });
  expect(root.rpm("-U", rpms[0] as string)).toMatchObject({ exitCode: 0 });
  expect(root.rpm("-qa", "kpatch-patch*").output).toContain("kpatch-patch-6_1_0-1-amd64-1-2.x86_64");
});

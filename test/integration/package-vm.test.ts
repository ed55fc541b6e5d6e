import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { chooseAccelerator } from "../../src/vm/kvm-probe.ts";
import { runGuest } from "../../src/vm/qemu.ts";
import { kmend } from "../cli/captured.ts";
import { FreshRoot, providerDeb, providerRpm } from "./fresh-root.ts";
import { Scratch, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
const roots: FreshRoot[] = [];
afterAll(() => {
  for (const root of roots) root.remove();
  scratch.remove();
});

function example(name: string): string {
  return fileURLToPath(new URL(`../../examples/${name}.patch`, import.meta.url));
}

const long = process.env["KMEND_LONG_TESTS"] === "1";

/** Builds patches into a package of Red Hat's kind, each version with a module name of its own. */
async function livePatch(format: "deb" | "rpm", version: string, ...patches: string[]): Promise<string> {
  const output = scratch.folder();
  const words = [
    "package",
    "--format",
    format,
    "--profile",
    "kpatch-patch",
    "--kernel",
    "newest",
    "--set-release",
    version,
  ];
  const { exitCode, stderr } = await kmend(...words, "--output", output, ...patches);
  expect(exitCode, stderr).toBe(0);
  return join(output, readdirSync(output)[0] as string);
}

/** What a host shows of the two example patches, and its patch modules. */
const look = `look() {
	echo "$1: $(grep -o -i '^memfree' /proc/meminfo) $(cut -c 1-9 /proc/cmdline) loaded:$(echo $(ls /sys/kernel/livepatch))"
}`;

/** Boots a root whose /init runs `script` and sends what it prints; the state of packages comes back as an archive in base64. */
async function boot(
  root: FreshRoot,
  script: string,
): Promise<{ readonly lines: readonly string[]; readonly state: Buffer }> {
  const { kernel } = await stockKernel();
  const folder = scratch.folder();
  writeFileSync(
    join(root.path, "init"),
    `#!/bin/sh
export PATH=/bin HOME=/
mkdir -p /proc /sys /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
stty -F /dev/ttyS1 raw -echo 115200
exec </dev/null >/dev/ttyS1 2>&1
${look}
${script}
echo STATE
tar -cz -C / var/lib/kpatch var/lib/dpkg var/lib/kmend 2>/dev/null | base64
echo END
# The serial line takes its time, and whoever reads END ends the guest.
sleep 100
poweroff -f
`,
  );
  chmodSync(join(root.path, "init"), 0o755);
  const initramfs = join(folder, "initramfs.cpio");
  execFileSync("sh", ["-c", 'find . | cpio --create --format=newc --owner=+0:+0 --quiet >"$0"', initramfs], {
    cwd: root.path,
  });
  let text = "";
  const onData = (piece: string): boolean => {
    text += piece;
    return text.includes("\nEND\n");
  };
  const accelerator = await chooseAccelerator(kernel.imagePath, join(folder, "trial"));
  const guest = { accelerator, imagePath: kernel.imagePath, initramfs, folder, timeoutSeconds: 300, onData };
  const end = await runGuest(guest);
  expect(text, end.console).toContain("\nEND\n");
  const [said = "", state = ""] = text.replaceAll("\r", "").split("STATE\n");
  return { lines: said.trimEnd().split("\n"), state: Buffer.from(state.replace("END\n", ""), "base64") };
}

/** A package manager that works inside of the guest. */
interface Manager {
  readonly format: "deb" | "rpm";
  readonly programs: readonly string[];
  readonly folders: readonly string[];
  readonly install: string;
  readonly upgrade: string;
  readonly remove: string;
  /** Name of the package of live patches. */
  packageName(release: string): string;
  /** A package that stands for the kernel's. */
  base(folder: string, release: string): string;
}

const managers: readonly Manager[] = [
  {
    format: "deb",
    programs: ["dpkg-deb", "dpkg-split", "tar", "gzip", "xz"],
    folders: [],
    install: "dpkg -i",
    upgrade: "dpkg -i",
    remove: "dpkg -r",
    packageName: (release) => `kpatch-patch-${release}`,
    base: (folder, release) => providerDeb(folder, `linux-image-${release}`),
  },
  {
    format: "rpm",
    programs: ["rpm"],
    folders: ["/usr/lib/rpm"],
    install: "rpm -i",
    upgrade: "rpm -U",
    remove: "rpm -e",
    packageName: (release) => `kpatch-patch-${release.replaceAll(".", "_")}`,
    base: (folder, release) => providerRpm(folder, "base", ["/bin/sh", `/lib/modules/${release}/modules.builtin`]),
  },
];

function bootableRoot({ programs, folders }: Manager): FreshRoot {
  const root = new FreshRoot();
  roots.push(root);
  for (const name of programs) root.copyProgram(name);
  for (const folder of folders) root.copyFolder(folder);
  root.program("ldconfig", "exit 0");
  return root;
}

// That of RPMs runs with the long tests only: their scriptlets are the same, and run in a root of their own elsewhere.
test.each(long ? managers : managers.slice(0, 1))(
  "a live patch in a $format on the stock kernel: install, upgrade to a cumulative one, remove, reboot",
  async (manager) => {
    const { release } = (await stockKernel()).kernel;
    const first = await livePatch(manager.format, "1", example("meminfo-string"));
    const second = await livePatch(manager.format, "2", example("meminfo-string"), example("cmdline-helper"));
    const base = manager.base(scratch.folder(), release);
    const root = bootableRoot(manager);
    mkdirSync(join(root.path, "packages"));
    for (const path of [base, first, second]) copyFileSync(path, join(root.path, "packages", basename(path)));
    const at = (path: string) => `/packages/${basename(path)}`;
    const { install, upgrade, remove } = manager;
    const { lines, state } = await boot(
      root,
      `look start
${install} ${at(base)} ${at(first)}; look installed
${upgrade} ${at(second)}; look upgraded
${upgrade} ${manager.format === "rpm" ? "--oldpackage " : ""}${at(first)}; echo "downgrade ends with $?"
ls /var/lib/kpatch/*
${remove} ${manager.packageName(release)}; look removed
ls /var/lib/kpatch`,
    );
    const seen = (step: string) => lines.find((line) => line.startsWith(`${step}: `));
    const modules = [1, 2].map((version) => `kpatch_${release.replace(/[.-]/g, "_")}_1_${version}`);
    const all = lines.join("\n");
    expect(seen("start"), all).toBe("start: MemFree console=t loaded:");
    expect(seen("installed"), all).toBe(`installed: MemFREE console=t loaded:${modules[0]}`);
    expect(seen("upgraded"), all).toBe(`upgraded: MemFREE console=( loaded:${modules[1]}`);
    expect(all).toContain("version 1-1 is older than the installed 1-2");
    expect(all).toContain("downgrade ends with 1");
    expect(seen("removed"), "removing never unloads").toBe(seen("upgraded")?.replace("upgraded", "removed"));
    expect(all).toContain(`${modules[1]} stays loaded until the next boot`);

    const rebooted = bootableRoot(manager);
    execFileSync("tar", ["-xz", "-C", rebooted.path], { input: state });
    const after = await boot(rebooted, `look rebooted\nfind /var/lib/kpatch -name '*.ko'`);
    expect(after.lines).toEqual(["rebooted: MemFree console=t loaded:"]);
  },
);

import { copyFileSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FreshRoot, runProgram } from "./fresh-root.ts";

/** What an initramfs runs (system/initramfs/load), in a folder that stands for one: /proc and /sys are plain files, and insmod makes what a kernel would. */
const release = "6.1.0-9-amd64";
const records = `root/var/lib/kmend/boot/${release}`;
let root: FreshRoot;

beforeEach(() => {
  root = new FreshRoot();
  copyFileSync(fileURLToPath(new URL("../../system/initramfs/load", import.meta.url)), join(root.path, "load"));
  root.write("proc/sys/kernel/osrelease", `${release}\n`);
  root.write("proc/sys/kernel/random/boot_id", "second\n");
  root.write("proc/uptime", "7.25 5.00\n");
  root.write("proc/cmdline", "root=/dev/vda ro * quiet\n");
  root.write("sys/kernel/notes", "GNU\0ABCDEF");
  root.write(`${records}/.keep`, "");
  // The record that was there at the time of each load is kept.
  root.program(
    "insmod",
    `name=$(basename "$1" .ko)
echo "$name $(grep -h state= /${records}/$name)" >>/loads
[ ! -e /fails ] || exit 1
mkdir -p /sys/module/$name /sys/kernel/livepatch/$name
echo 1 >/sys/kernel/livepatch/$name/enabled
[ -e /stalls ] && echo 1 >/sys/kernel/livepatch/$name/transition || echo 0 >/sys/kernel/livepatch/$name/transition`,
  );
  root.program("sleep", ":");
});
afterEach(() => root.remove());

/** Lists modules for the initramfs and puts them where it has them and where they are installed. */
function plan(...modules: readonly { name: string; buildId?: string; after?: string }[]): void {
  const lines = modules.map(
    ({ name, buildId = "-", after = "-" }) => `${name} ${name}.ko ${name}sum ${buildId} ${after}\n`,
  );
  root.write(`lib/kmend/${release}/plan`, lines.join(""));
  for (const { name } of modules) {
    for (const folder of [`lib/kmend/${release}`, `root/var/lib/kpatch/${release}`])
      root.write(`${folder}/${name}.ko`, name);
  }
}

/** Runs it. @returns what it said, and which loads it made. */
function load(): { readonly said: string; readonly loads: readonly string[] } {
  const { exitCode, output } = runProgram("chroot", [root.path, "sh", "/load", "/root"]);
  expect(exitCode, output).toBe(0);
  return { said: output, loads: root.read("loads").split("\n").filter(Boolean) };
}

test("each load is recorded before and after", () => {
  plan({ name: "a" }, { name: "b", buildId: "42434445", after: "a" });
  const { loads, said } = load();
  expect(loads, said).toEqual(["a state=loading", "b state=loading"]);
  expect(root.read(`${records}/b`)).toBe("sha256=bsum\nboot=second\nuptime=7\nstate=loaded\n");
  expect(said).toContain("kmend: b is in force");
});

test("what an earlier boot did not survive is held back, and nothing that needs it is loaded", () => {
  plan({ name: "a" }, { name: "b", after: "a" });
  root.write(`${records}/a`, "sha256=asum\nboot=first\nuptime=5\nstate=loaded\n");
  expect(load()).toMatchObject({ loads: [], said: expect.stringContaining("a is held back") });
  expect(root.read(`${records}/a`), "the record stays").toContain("boot=first");
});

test("another build of it is not", () => {
  plan({ name: "a" });
  root.write(`${records}/a`, "sha256=othersum\nboot=first\nuptime=5\nstate=loaded\n");
  expect(load().loads).toEqual(["a state=loading"]);
});

test("a damaged record holds it back", () => {
  plan({ name: "a" });
  root.write(`${records}/a`, "");
  expect(load().loads).toEqual([]);
});

test.each(["kmend.enable=0", "kpatch.enable=0"])("%s switches it off", (word) => {
  plan({ name: "a" });
  root.write("proc/cmdline", `ro ${word}\n`);
  expect(load().loads).toEqual([]);
});

test("a module for another build of the kernel is not loaded", () => {
  plan({ name: "a", buildId: "ffff" }, { name: "b" });
  expect(load()).toMatchObject({
    loads: ["b state=loading"],
    said: expect.stringContaining("a is made for another build"),
  });
});

test.each([
  ["uninstalled", () => rmSync(join(root.path, `root/var/lib/kpatch/${release}/a.ko`))],
  ["replaced by another build", () => root.write(`root/var/lib/kpatch/${release}/a.ko`, "new")],
])("what was %s since is left to the service", (_, change) => {
  plan({ name: "a" });
  change();
  expect(load().loads).toEqual([]);
});

test("without a place for records nothing is loaded", () => {
  plan({ name: "a" });
  rmSync(join(root.path, records), { recursive: true });
  expect(load().loads).toEqual([]);
});

test("a load that the kernel refuses leaves no record", () => {
  plan({ name: "a" }, { name: "b" });
  root.write("fails", "");
  expect(load().loads).toEqual(["a state=loading"]);
  expect(root.has(`${records}/a`)).toBe(false);
});

test("a transition that does not end keeps the next ones for the service", () => {
  plan({ name: "a" }, { name: "b" });
  root.write("stalls", "");
  expect(load().loads).toEqual(["a state=loading"]);
  expect(readFileSync(join(root.path, records, "a"), "utf8")).toContain("state=loading");
});

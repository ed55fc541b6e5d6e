import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { UpdateChangeResult } from "../../src/cli/updates.ts";
import { readModinfo } from "../../src/elf/modinfo.ts";
import { isSigned } from "../../src/elf/module-signature.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { findTargetKernel, type TargetKernel } from "../../src/target/find.ts";
import { ShippedModules } from "../../src/target/shipped-module.ts";
import { readUpdate } from "../../src/update/update-bundle.ts";
import { type HostRun, runHost } from "./host-guest.ts";
import { KspliceTree } from "./ksplice-tree.ts";
import { replace, Scratch, testedKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: TargetKernel;
let tree: KspliceTree;
/** Updates by identifier. */
const updates = new Map<string, string>();

beforeAll(async () => {
  stock = await findTargetKernel({ kernel: testedKernel });
  tree = await KspliceTree.of(stock, scratch);
});
afterAll(() => {
  tree.forget();
  scratch.remove();
});

async function make(id: string, ...words: readonly string[]): Promise<string> {
  const path = await tree.update(id, ...words);
  updates.set(id, path);
  return path;
}

/** Identifiers of the updates that one goes on top of. */
async function earlierOf(id: string): Promise<string[]> {
  const { manifest } = await readUpdate(updates.get(id) as string);
  expect(manifest.functions.filter(({ proven }) => !proven)).toEqual([]);
  return manifest.after.map((earlier) => earlier.id);
}

const meminfo = "fs/proc/meminfo.c";
const misc = "fs/binfmt_misc.c";
const free = replace('"MemFree:        "', '"MemFREE:        "');
const shout = replace('"enabled\\n" : "disabled\\n"', '"ENABLED\\n" : "disabled\\n"');
const again = replace('"ENABLED\\n" : "disabled\\n"', '"Enabled twice\\n" : "disabled\\n"');

describe("updates of a source tree", () => {
  test("System.map has to be that of the image", async () => {
    const config = scratch.folder();
    for (const file of [".config", "vmlinuz", "Module.symvers"]) {
      writeFileSync(join(config, file), readFileSync(join(tree.config, file)));
    }
    const map = readFileSync(join(tree.config, "System.map"), "utf8");
    const moved = map.replace(/^([0-9a-f]{15})[0-9a-f]( [tT] meminfo_proc_show)$/m, "$17$2");
    expect(moved).not.toBe(map);
    writeFileSync(join(config, "System.map"), moved);
    const made = await tree.ksplice("create", "--prebuild", `--config=${config}`, tree.path);
    expect(made.exitCode).toBe(255);
    expect(made.stderr).toMatch(/BAD_SYSTEM_MAP[\s\S]*meminfo_proc_show is at/);
  });

  test("--prebuild and a patch leave the tree as it was, to the byte; the same patch and identifier make the same bytes", async () => {
    const content = tree.content();
    const prebuilt = await tree.create("--prebuild", "-j", "2");
    expect(prebuilt.exitCode, prebuilt.all).toBe(0);
    expect(prebuilt.stdout).toBe("The original source is compiled as far as later updates need it.\n");
    const words = ["--description=Free memory\nhas another name", `--patch=${tree.patch(meminfo, free)}`];
    const first = readFileSync(await make("one", ...words));
    expect(readFileSync(await make("one", ...words)).equals(first)).toBe(true);
    expect(tree.content()).toBe(content);
    const { manifest, patch } = await readUpdate(updates.get("one") as string);
    expect(manifest.kernel).toEqual({ release: stock.release, buildId: stock.buildId });
    expect(manifest.functions.map(({ name, proven }) => [name, proven])).toEqual([["meminfo_proc_show", true]]);
    expect(patch.toString()).toContain('+	show_val_kb(m, "MemFREE:');
  });

  test("--build-modules adds the complete module, which says of itself what the shipped one says", async () => {
    await make("mod", "--build-modules", `--patch=${tree.patch(misc, shout)}`);
    const { manifest, files } = await readUpdate(updates.get("mod") as string);
    expect(manifest.targets).toEqual(["binfmt_misc"]);
    expect(manifest.modules).toEqual([{ target: "binfmt_misc", file: "modules/binfmt_misc.ko" }]);
    const whole = files.get("modules/binfmt_misc.ko") as Buffer;
    const modules = await ShippedModules.open(stock.modulesDir);
    const shipped = await modules.read(modules.find("binfmt_misc") as { name: string; modfile: string });
    expect(modinfoOf(whole)).toEqual(modinfoOf(shipped));
    expect(modinfoOf(whole)["intree"]).toEqual(["Y"]);
    expect(isSigned(whole)).toBe(false);
    // A checksum for each symbol that it uses, the same as in the shipped one.
    const versions = new ElfReader(whole).section("__versions")?.data;
    expect(versions?.length).toBeGreaterThan(64);
    expect(Buffer.from(versions ?? []).toString("hex")).toBe(
      Buffer.from(new ElfReader(shipped).section("__versions")?.data ?? []).toString("hex"),
    );
    updates.set("whole", scratch.file("binfmt_misc.ko", whole));
  });

  test("--series puts an update of a module on top of the last one", async () => {
    await make("mod-2", "--series", `--patch=${tree.patch(misc, again, shout)}`);
    expect(await earlierOf("mod-2")).toEqual(["mod"]);
  });

  test("--prebuild --series forgets the earlier original, and does nothing else", async () => {
    const forgot = await tree.create("--prebuild", "--series");
    expect(forgot).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("is the original from now on") });
    const lost = await tree.create("--series", `--patch=${tree.patch(misc, again, shout)}`);
    expect(lost.exitCode).toBe(255);
    expect(lost.stderr).toContain("PATCH_DOES_NOT_APPLY");
  });

  test("the same function is patched again, from another unit's update too only when that one is part of the series", async () => {
    await make("other", `--patch=${tree.patch(meminfo, replace('"MemFree:        "', '"MemOTHER:       "'))}`);
    const fork = replace("nr = pid_vnr(pid);", "nr = pid ? pid_vnr(pid) : -ESRCH;");
    await make("busy", `--patch=${tree.patch("kernel/fork.c", fork)}`);
    await make("one", "--description=Free memory\nhas another name", `--patch=${tree.patch(meminfo, free)}`);
    const available = tree.patch(meminfo, replace('"MemAvailable:   "', '"MemAVAILABLE:   "'), free);
    const bare = readFileSync(available, "latin1").replaceAll(/^(---|\+\+\+) [ab]\//gm, "$1 ");
    await make("two", "--series", "--patch-opt=-p0", `--patch=${scratch.file("bare.patch", bare)}`);
    expect(await earlierOf("two")).toEqual(["one"]);
    for (const id of ["other", "busy", "one"]) expect(await earlierOf(id)).toEqual([]);
  });

  test("from edited copies, with the objects of the build", async () => {
    const copy = join(tree.path, "fs/proc/cmdline.c.fixed");
    tree.edit("fs/proc/cmdline.c", replace("seq_putc(m, '\\n');", 'seq_puts(m, " edited\\n");'), copy);
    await make("ext", "-vv", "--diffext=.fixed");
    rmSync(copy);
    const { files, patch } = await readUpdate(updates.get("ext") as string);
    expect(patch.toString()).toContain("+++ b/fs/proc/cmdline.c\n");
    const names = ["original", "patched", "extracted"].map((kind) => `debug/vmlinux/fs/proc/cmdline.${kind}.o`);
    expect([...files.keys()]).toEqual(expect.arrayContaining(names));
    const none = await tree.create("--diffext=.nothing");
    expect(none.exitCode).toBe(255);
    expect(none.stderr).toContain("no file in");
  });

  test("from a commit, and from the next one on top of it: only refs/ksplice/pre is written", async () => {
    const head = tree.git("rev-parse", "HEAD");
    const commits: string[] = [];
    for (const edit of [replace("utsname()->release", '"patched"'), replace('"patched"', '"series"')]) {
      if (commits.length === 0) tree.git("checkout", "--quiet", "-b", "fixed");
      tree.edit("fs/proc/version.c", edit);
      tree.git("commit", "--quiet", "-am", `Release ${commits.length}`);
      commits.push(tree.git("rev-parse", "HEAD").trim());
    }
    tree.git("checkout", "--quiet", "-");
    await make("git", "--git=fixed~1");
    expect(tree.git("rev-parse", "refs/ksplice/pre")).toBe(head);
    expect((await readUpdate(updates.get("git") as string)).patch.toString()).toContain("Release 0");
    await make("git-2", "--git=fixed", "--series");
    expect(await earlierOf("git-2")).toEqual(["git"]);
    expect(tree.git("rev-parse", "refs/ksplice/pre").trim()).toBe(commits[0]);
    expect((await readUpdate(updates.get("git-2") as string)).patch.toString()).toContain('+		"series"');
    const none = await tree.create("--git=fixed~1");
    expect(none).toMatchObject({ exitCode: 66, stdout: "" });
    expect(none.stderr).toContain("No changes detected.\n");
    const missing = await tree.create("--git=nowhere");
    expect(missing.exitCode).toBe(255);
    expect(missing.stderr).toContain("there is no commit nowhere");
    tree.edit("fs/proc/uptime.c", (text) => `${text}\n`);
    const dirty = await tree.create("--git=fixed");
    expect(dirty.exitCode).toBe(255);
    expect(dirty.stderr).toContain("fs/proc/uptime.c");
    tree.git("checkout", "--quiet", "fs/proc/uptime.c");
    await tree.create("--prebuild", "--series");
    expect(tree.git("rev-parse", "refs/ksplice/pre")).toBe(head);
  });

  test("what it is asked cannot be right: 1, or the change cannot be: 255", async () => {
    const patch = tree.patch(meminfo, free);
    const name = await tree.create("--id=a/b", `--patch=${patch}`);
    expect(name).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("UPDATE_ID") });
    const inside = await tree.ksplice("create", `--patch=${patch}`, `--config=${join(tree.path, "fs")}`, tree.path);
    expect(inside).toMatchObject({ exitCode: 255, stderr: expect.stringContaining("ORIG_CONFIG") });
    const section = tree.patch(meminfo, (text) =>
      text.replace("static int meminfo_proc_show", "static int __init meminfo_proc_show"),
    );
    const refused = await tree.create("--raw-errors", `--patch=${section}`);
    expect(refused.exitCode).toBe(255);
    expect(refused.stderr).toMatch(/^OTHER\n\S/);
  });
});

/** What a module says about itself, but for the signature. */
function modinfoOf(module: Uint8Array): Record<string, readonly string[]> {
  return Object.fromEntries([...readModinfo(module)].filter(([key]) => !key.startsWith("sig")));
}

describe("kmend itself understands an update", () => {
  test("verify, info and package", async () => {
    const one = updates.get("one") as string;
    const verified = await tree.kmend("verify", "--json", "--kernel", stock.release, one);
    expect(JSON.parse(verified.stdout)).toMatchObject({ outcome: "proven", items: expect.any(Array) });
    const info = JSON.parse((await tree.kmend("info", "--json", one)).stdout);
    expect(info).toMatchObject({ name: "ksplice_one", file: { path: one } });
    const output = scratch.folder();
    const packed = await tree.kmend("package", "--json", "--format", "tar", "-o", output, one);
    expect(packed.exitCode, packed.all).toBe(0);
    const [{ path }] = JSON.parse(packed.stdout).packages;
    const { files } = await readUpdate(one);
    const module = files.get("ksplice-one.ko") as Buffer;
    expect(gunzipSync(readFileSync(path)).includes(module)).toBe(true);
  });

  test("try, with the module that it changes, and with the update that it goes on top of", async () => {
    const words = ["--json", "--kernel", stock.release];
    const probe = "mount -t binfmt_misc none /tmp; cat /tmp/status; umount /tmp";
    const paths = ["mod", "mod-2"].map((id) => updates.get(id) as string);
    const tried = await tree.kmend("try", ...words, "--probe", probe, ...paths);
    expect(JSON.parse(tried.stdout)).toMatchObject({
      verdict: "passed",
      module: "ksplice_mod_2",
      probes: [{ before: "ENABLED", loaded: "Enabled twice", after: "ENABLED" }],
    });
    const alone = await tree.kmend("try", ...words, paths[1] as string);
    expect(alone.exitCode).toBe(4);
    expect(alone.stderr).toContain("goes on top of update mod");
  });
});

describe("on the stock kernel", () => {
  let host: HostRun;
  const file = (id: string): string => basename(updates.get(id) as string);
  beforeAll(async () => {
    const modules = await ShippedModules.open(stock.modulesDir);
    const shipped = await modules.read(modules.find("binfmt_misc") as { name: string; modfile: string });
    const vforks = join(mkdtempSync(join(scratch.path, "program-")), "vforks");
    const source = "#include <unistd.h>\nint main(void) { if (vfork() == 0) { sleep(10000); _exit(0); } return 0; }\n";
    execFileSync("gcc", ["-static", "-O1", "-x", "c", "-o", vforks, "-"], { input: source });
    host = await runHost({
      kernel: stock,
      scratch,
      files: [...updates.values(), scratch.file("shipped.ko", shipped), vforks],
      // A task is kept waiting for as long as the test likes.
      parameters: ["sysctl.kernel.hung_task_timeout_secs=0"],
      timeoutSeconds: 1500,
      script: `
ksplice() { ksplice_name=$1; shift; node /opt/kmend/compat/ksplice-$ksplice_name "$@"; }
status() { shows $1 'mount -t binfmt_misc none /tmp && cat /tmp/status && umount /tmp'; }

echo 0 >/proc/sys/kernel/ftrace_enabled
step no-ftrace ksplice apply --raw-errors ${file("one")}
echo 1 >/proc/sys/kernel/ftrace_enabled
step early ksplice apply --raw-errors ${file("two")}
step absent ksplice apply ${file("mod")}

step partial ksplice apply --partial --debugfile=/tmp/debug ${file("mod")}
shows debug 'cat /tmp/debug'
step partial-2 ksplice apply --partial ${file("mod-2")}
insmod shipped.ko
status twice
step below-mod ksplice undo mod
step undo-mod-2 ksplice undo mod_2
status once
step undo-mod ksplice undo mod
status stock
rmmod binfmt_misc
insmod ${file("whole")}
status whole
shows tainted 'cat /sys/module/binfmt_misc/taint'
rmmod binfmt_misc

step one ksplice apply ${file("one")}
step other ksplice apply ${file("other")}
step two ksplice apply ${file("two")}
shows meminfo 'grep -c "MemFREE\\|MemAVAILABLE" /proc/meminfo'
step below ksplice undo --raw-errors one
step ext ksplice apply ${file("ext")}
step load kmend load --json ${file("git")}
step loaded ksplice apply ${file("git")}
step git-2 ksplice apply ${file("git-2")}
shows cmdline 'cat /proc/cmdline'
shows version 'cat /proc/version'
step list ksplice view
step ids ksplice view -q
step id ksplice view --id=one
step file ksplice view --file=${file("two")}

/modules/vforks &
sleep 1
step busy ksplice apply --timeout=1 --debug ${file("busy")}
shows busy-debug 'cat ksplice-debug.log; ls /sys/module | grep busy'
step busy-raw kmend apply --json --timeout=1 ${file("busy")}
kill -9 $(pidof vforks)
step free ksplice apply --raw-errors ${file("busy")}

for update in busy git-2 two ext git; do step undo-$update ksplice undo $update; done
step undo-one ksplice undo ksplice_one
step gone ksplice undo ext
step gone-view ksplice view --id=ext
shows after 'cat /proc/meminfo; ls /sys/kernel/livepatch; ls /run/kmend/updates'
echo 1 >/proc/sys/kernel/modules_disabled
step forbidden ksplice apply --raw-errors ${file("one")}
`,
    });
  }, 1_800_000);

  function expectDone(...names: readonly string[]): void {
    for (const name of names) {
      expect([name, host.step(name)]).toMatchObject([name, { exitCode: 0, stdout: "Done!\n" }]);
    }
  }

  test("what is not ready, missing or forbidden is told by its word", () => {
    expect(host.step("no-ftrace")).toMatchObject({ exitCode: 255, stderr: "not_ready\n" });
    expect(host.step("early")).toMatchObject({ exitCode: 255, stderr: "missing_update\n" });
    expect(host.step("absent").exitCode).toBe(255);
    expect(host.step("absent").stderr).toMatch(
      /^Error applying Ksplice update mod:\n[\s\S]*--partial[\s\S]*the module binfmt_misc is not loaded\n$/,
    );
    expect(host.step("forbidden")).toMatchObject({ exitCode: 255, stderr: "forbidden\n" });
  });

  test("updates of a module are applied before it is loaded, on top of each other, and undone", () => {
    expectDone("partial", "partial-2", "undo-mod-2", "undo-mod");
    expect(host.step("partial").stderr).toContain("Debugging output saved to /tmp/debug");
    expect(host.step("debug").stdout).toMatch(/"outcome": "applied"[\s\S]*livepatch: enabling patch 'ksplice_mod'/);
    expect(host.step("twice").stdout).toBe("Enabled twice\n");
    expect(host.step("below-mod").exitCode).toBe(255);
    expect(host.step("below-mod").stderr).toContain("update mod-2 was built on top of update mod");
    expect(host.step("once").stdout).toBe("ENABLED\n");
    expect(host.step("stock").stdout).toBe("enabled\n");
  });

  test("the complete module works in place of the shipped one, and is unsigned", () => {
    expect(host.step("whole").stdout).toBe("ENABLED\n");
    expect(host.step("tainted").stdout).toBe("E\n");
  });

  test("updates are applied and undone in their order only", () => {
    expectDone("one", "two", "ext", "git-2");
    expect(host.step("other").exitCode).toBe(255);
    expect(host.step("other").stderr).toContain("meminfo_proc_show (vmlinux) was changed by ksplice_one");
    expect(host.step("meminfo").stdout).toBe("2\n");
    expect(host.step("below")).toMatchObject({ exitCode: 255, stderr: "module_busy\n" });
    expect(host.step("load").exitCode, host.step("load").stderr).toBe(0);
    expect(host.step("loaded").stdout).toBe("Ksplice update git already applied.\n");
    expect(host.step("cmdline").stdout).toMatch(/ edited\n$/);
    expect(host.step("version").stdout).toContain("version series ");
    expectDone("undo-git-2", "undo-two", "undo-ext", "undo-git", "undo-one");
    expect(host.step("gone")).toMatchObject({ exitCode: 1, stderr: "Ksplice id ext is not present in the kernel\n" });
    expect(host.step("gone-view").stdout).toBe("Ksplice id ext is not present in the kernel.\n");
    expect(host.step("after").stdout).toContain("MemFree:");
    expect(host.step("after").stdout).not.toContain("ksplice");
  });

  test("view lists them, and shows one", () => {
    const none = "no description available";
    expect(host.step("list").stdout).toBe(
      `one: Free memory\ntwo: ${none}\next: ${none}\ngit: ${none}\ngit-2: ${none}\n`,
    );
    expect(host.step("ids").stdout).toBe("one\ntwo\next\ngit\ngit-2\n");
    expect(host.step("id").stdout).toContain("Ksplice id one is present in the kernel and is applied.");
    expect(host.step("id").stdout).toContain('+	show_val_kb(m, "MemFREE:');
    expect(host.step("file").stdout).toContain("on top of update one");
  });

  test("a task that waits in a function is named with it, and nothing stays loaded", () => {
    const { exitCode, stderr } = host.step("busy");
    expect(exitCode).toBe(255);
    expect(stderr).toMatch(/Process vforks\(pid \d+, task \d+\) is in kernel_clone: /);
    expect(stderr).toContain("Debugging output saved to ksplice-debug.log");
    expect(host.step("busy-debug").stdout).toMatch(/"cause": "code_busy"/);
    expect(host.step("busy-debug").stdout).not.toContain("\nksplice_busy\n");
    expect(host.step("busy-raw").exitCode).toBe(6);
    expect(host.json<UpdateChangeResult>("busy-raw")).toMatchObject({
      outcome: "aborted",
      cause: "code_busy",
      tasks: expect.arrayContaining([
        expect.objectContaining({ name: "vforks", function: "kernel_clone", inPatchedFunction: true }),
      ]),
    });
    expectDone("free", "undo-busy");
  });
});

import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ElfReader } from "../../src/elf/reader.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { readModinfo } from "../../src/patch-module/modinfo.ts";
import { isSigned } from "../../src/patch-module/module-signature.ts";
import { cacheRoot } from "../../src/support/cache.ts";
import { readUpdate } from "../../src/update/update-bundle.ts";
import type { HostRun } from "./host-guest.ts";
import { edits, KspliceTree, runUpdates, shippedModule } from "./ksplice-tree.ts";
import { replace, Scratch, testedKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: TargetKernel;
let tree: KspliceTree;

beforeAll(async () => {
  stock = await findTargetKernel({ kernel: testedKernel });
  tree = await KspliceTree.of(stock, scratch);
});
afterAll(() => {
  tree.forget();
  scratch.remove();
});

const meminfo = "fs/proc/meminfo.c";
const misc = "fs/binfmt_misc.c";
const { free, available, fork, shout } = edits;

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
    const first = readFileSync(await tree.update("one", ...words));
    expect(readFileSync(await tree.update("one", ...words)).equals(first)).toBe(true);
    expect(tree.content()).toBe(content);
    const { manifest, patch } = await tree.read("one");
    expect(manifest.kernel).toEqual({ release: stock.release, buildId: stock.buildId });
    expect(manifest.functions.map(({ name, proven }) => [name, proven])).toEqual([["meminfo_proc_show", true]]);
    expect(patch.toString()).toContain('+	show_val_kb(m, "MemFREE:');
  });

  test("--build-modules adds the complete module, which says of itself what the shipped one says", async () => {
    const told = await tree.create("--id=watched", `--patch=${tree.patch(misc, shout)}`);
    // Kernels before 6.3 cannot load the module again meanwhile.
    expect(told.stderr.includes("warning: binfmt_misc (")).toBe(/^(?:[45]\.|6\.[0-2]\.)/.test(stock.release));
    await tree.update("mod", "--build-modules", `--patch=${tree.patch(misc, shout)}`);
    const { manifest, files } = await tree.read("mod");
    expect(manifest.targets).toEqual(["binfmt_misc"]);
    expect(manifest.modules).toEqual([{ target: "binfmt_misc", file: "modules/binfmt_misc.ko" }]);
    const whole = files.get("modules/binfmt_misc.ko") as Buffer;
    const shipped = await shippedModule(stock, "binfmt_misc");
    expect(modinfoOf(whole)).toEqual(modinfoOf(shipped));
    expect(modinfoOf(whole)["intree"]).toEqual(["Y"]);
    expect(isSigned(whole)).toBe(false);
    // The same bytes wherever it is built.
    expect(whole.includes(cacheRoot())).toBe(false);
    // A checksum for each symbol that it uses, the same as in the shipped one.
    const versions = new ElfReader(whole).section("__versions")?.data;
    expect(versions?.length).toBeGreaterThan(64);
    expect(Buffer.from(versions ?? []).toString("hex")).toBe(
      Buffer.from(new ElfReader(shipped).section("__versions")?.data ?? []).toString("hex"),
    );
    tree.updates.set("whole", scratch.file("binfmt_misc.ko", whole));
  });

  test("--prebuild --series forgets the earlier original, and does nothing else", async () => {
    const forgot = await tree.create("--prebuild", "--series");
    expect(forgot).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("is the original from now on") });
    const lost = await tree.create(
      "--series",
      `--patch=${tree.patch(misc, replace("ENABLED", "Enabled twice"), shout)}`,
    );
    expect(lost.exitCode).toBe(255);
    expect(lost.stderr).toContain("PATCH_DOES_NOT_APPLY");
  });

  test("the same function is patched again, on top of the last update; --patch-opt takes the place of -p1", async () => {
    await tree.update("busy", `--patch=${tree.patch("kernel/fork.c", fork)}`);
    await tree.update("one", "--description=Free memory\nhas another name", `--patch=${tree.patch(meminfo, free)}`);
    const bare = readFileSync(tree.patch(meminfo, available, free), "latin1").replaceAll(
      /^(---|\+\+\+) [ab]\//gm,
      "$1 ",
    );
    await tree.update("two", "--series", "--patch-opt=-p0", `--patch=${scratch.file("bare.patch", bare)}`);
    expect(await tree.earlierOf("two")).toEqual(["one"]);
    for (const id of ["busy", "one"]) expect(await tree.earlierOf(id)).toEqual([]);
  });

  test("from edited copies, with the objects of the build", async () => {
    const copy = join(tree.path, "fs/proc/cmdline.c.fixed");
    tree.edit("fs/proc/cmdline.c", replace("seq_putc(m, '\\n');", 'seq_puts(m, " edited\\n");'), copy);
    await tree.update("ext", "-vv", "--diffext=.fixed");
    rmSync(copy);
    const { files, patch } = await tree.read("ext");
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
    await tree.update("git", "--git=fixed~1");
    expect(tree.git("rev-parse", "refs/ksplice/pre")).toBe(head);
    expect((await tree.read("git")).patch.toString()).toContain("Release 0");
    await tree.update("git-2", "--git=fixed", "--series");
    expect(await tree.earlierOf("git-2")).toEqual(["git"]);
    expect(tree.git("rev-parse", "refs/ksplice/pre").trim()).toBe(commits[0]);
    expect((await tree.read("git-2")).patch.toString()).toContain('+		"series"');
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
      text
        .replace("static int meminfo_proc_show", "static int __init meminfo_proc_show")
        .replace("MemTotal:", "MemTOTAL:"),
    );
    const refused = await tree.create("--raw-errors", `--patch=${section}`);
    expect(refused.exitCode).toBe(255);
    expect(refused.stderr).toMatch(/^OTHER\n\S/);
    const grown = tree.patch("fs/eventfd.c", (text) =>
      text
        .replace(/(struct eventfd_ctx \{[^}]*)\}/, "$1\tlong more;\n}")
        .replace("->count -= *cnt;", "$& ctx->more++;"),
    );
    const larger = await tree.create(`--patch=${grown}`);
    expect(larger).toMatchObject({ exitCode: 255, stderr: expect.stringContaining("--allow-layout=eventfd_ctx") });
    await tree.update("grown", "--allow-layout=eventfd_ctx", `--patch=${grown}`);
    tree.updates.delete("grown");
  });

  test("what is missing in ORIG_CONFIG is told by its name there", async () => {
    const config = scratch.folder();
    for (const file of [".config", "vmlinuz", "System.map"]) copyFileSync(join(tree.config, file), join(config, file));
    const made = await tree.ksplice("create", "--prebuild", `--config=${config}`, tree.path);
    expect(made.exitCode).toBe(255);
    expect(made.stderr).toMatch(/SYMVERS_MISSING[\s\S]*hint: give it as ORIG_CONFIG\/Module\.symvers/);
  });
});

/** What a module says about itself, but for the signature. */
function modinfoOf(module: Uint8Array): Record<string, readonly string[]> {
  return Object.fromEntries([...readModinfo(module)].filter(([key]) => !key.startsWith("sig")));
}

describe("kmend itself understands an update", () => {
  test("verify, info and package", async () => {
    const one = tree.updates.get("one") as string;
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

  test("kmend create writes the reviewer's page beside an update", async () => {
    const page = join(scratch.folder(), "page.html");
    const before = tree.fingerprint();
    const words = [`--patch=${tree.patch(meminfo, free)}`, `--config=${tree.config}`, "--id=shown", "--report", page];
    const made = await tree.kmend("create", ...words, tree.path);
    expect(made.exitCode, made.all).toBe(0);
    expect(tree.fingerprint()).toBe(before);
    const text = readFileSync(page, "utf8");
    expect(
      ["meminfo_proc_show", "1 of 1 changed function", "--id=shown", "kmend verify ksplice-shown.tar.gz"].filter(
        (part) => !text.includes(part),
      ),
    ).toEqual([]);
  });
});

describe("on the stock kernel", () => {
  let host: HostRun;
  const file = (id: string): string => basename(tree.updates.get(id) as string);
  beforeAll(async () => {
    const script = `
step partial ksplice apply --partial --debugfile=/tmp/debug ${file("mod")}
shows debug 'cat /tmp/debug'
insmod ${file("whole")}
status both
shows tainted 'cat /sys/module/binfmt_misc/taint'
step undo-mod ksplice undo mod
status whole
rmmod binfmt_misc
insmod shipped.ko
status stock

step one ksplice apply ${file("one")}
step load kmend load --json ${file("git")}
step ext ksplice apply ${file("ext")}
step two ksplice apply ${file("two")}
shows meminfo 'grep -c "MemFREE\\|MemAVAILABLE" /proc/meminfo'
shows cmdline 'cat /proc/cmdline'
shows version 'cat /proc/version'
step below ksplice undo --raw-errors one
step list ksplice view
step id ksplice view --id=one

/modules/vforks &
sleep 1
step busy ksplice apply --timeout=1 ${file("busy")}
shows busy-gone 'ls /sys/module | grep busy'

for update in two ext git; do step undo-$update ksplice undo $update; done
step undo-one ksplice undo ksplice_one
step gone-view ksplice view --id=ext
shows after 'cat /proc/meminfo; ls /sys/kernel/livepatch; ls /run/kmend/updates'
`;
    host = await runUpdates(stock, tree, scratch, script);
  }, 1_800_000);

  function expectDone(...names: readonly string[]): void {
    for (const name of names) {
      expect([name, host.step(name)], host.step(name).stderr).toMatchObject([name, { exitCode: 0, stdout: "Done!\n" }]);
    }
  }

  test("an update is applied partially, and the complete module is loaded in place of the shipped one", () => {
    expectDone("partial", "undo-mod");
    expect(host.step("partial").stderr).toContain("Debugging output saved to /tmp/debug");
    expect(host.step("debug").stdout).toMatch(/"outcome": "applied"[\s\S]*livepatch: enabling patch 'ksplice_mod'/);
    expect(host.step("both").stdout).toBe("ENABLED\n");
    // It is not signed.
    expect(host.step("tainted").stdout).toBe("E\n");
    expect(host.step("whole").stdout).toBe("ENABLED\n");
    expect(host.step("stock").stdout).toBe("enabled\n");
  });

  test("updates are applied and undone, those on top of others in their order only", () => {
    expectDone("one", "two", "ext");
    expect(host.step("load").exitCode, host.step("load").stderr).toBe(0);
    expect(host.step("meminfo").stdout).toBe("2\n");
    expect(host.step("cmdline").stdout).toMatch(/ edited\n$/);
    expect(host.step("version").stdout).toContain("version patched ");
    expect(host.step("below")).toMatchObject({ exitCode: 255, stderr: "module_busy\n" });
    expectDone("undo-two", "undo-ext", "undo-git", "undo-one");
    expect(host.step("gone-view").stdout).toBe("Ksplice id ext is not present in the kernel.\n");
    expect(host.step("after").stdout).toContain("MemFree:");
    expect(host.step("after").stdout).not.toContain("ksplice");
  });

  test("view lists them, and shows one", () => {
    const none = "no description available";
    expect(host.step("list").stdout).toBe(`one: Free memory\ngit: ${none}\next: ${none}\ntwo: ${none}\n`);
    expect(host.step("id").stdout).toContain("Ksplice id one is present in the kernel and is applied.");
    expect(host.step("id").stdout).toContain('+	show_val_kb(m, "MemFREE:');
  });

  test("a task that waits in a function is named with it, and nothing stays loaded", () => {
    const { exitCode, stderr } = host.step("busy");
    expect(exitCode).toBe(255);
    expect(stderr).toMatch(/Process vforks\(pid \d+, task \d+\) is in kernel_clone: /);
    expect(host.step("busy-gone").stdout).toBe("");
  });
});

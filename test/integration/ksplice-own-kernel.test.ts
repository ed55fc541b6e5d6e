import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findTargetKernel } from "../../src/kernel/find.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { cacheRoot } from "../../src/support/cache.ts";
import type { RunResult } from "../../src/support/run.ts";
import { readUpdate } from "../../src/update/update-bundle.ts";
import { runHost } from "./host-guest.ts";
import { KspliceTree, kspliceGuest } from "./ksplice-tree.ts";
import { replace, Scratch } from "./stock-kernel.ts";
import { tinyKernel } from "./tiny-kernel.ts";

/** What Node and the test need besides the smallest kernel. */
const more = `
CONFIG_X86_MPPARSE=y
CONFIG_MODVERSIONS=y
CONFIG_EVENTFD=y
CONFIG_SIGNALFD=y
CONFIG_TIMERFD=y
CONFIG_INOTIFY_USER=y
CONFIG_FILE_LOCKING=y
CONFIG_ADVISE_SYSCALLS=y
CONFIG_MEMBARRIER=y
CONFIG_SHMEM=y
CONFIG_TMPFS=y
CONFIG_NET=y
CONFIG_UNIX=y
CONFIG_DEBUG_INFO_DWARF5=n
CONFIG_DEBUG_INFO_BTF=n
CONFIG_DEBUG_INFO_NONE=y
`;

// A whole kernel is compiled, which takes minutes.
describe.skipIf(process.env["KMEND_LONG_TESTS"] !== "1")("a kernel of one's own, without any package", () => {
  const scratch = new Scratch();
  let tree: KspliceTree;
  let built: TargetKernel;

  beforeAll(async () => {
    const { tree: path, config } = await tinyKernel(scratch.path, more);
    const orig = join(scratch.path, "orig");
    mkdirSync(orig);
    copyFileSync(config, join(orig, ".config"));
    writeFileSync(join(orig, "System.map"), "ffffffffffffffff B nothing is known yet\n");
    writeFileSync(join(orig, "flags"), "LOCALVERSION='-flagged' KBUILD_BUILD_USER=\"some one\"\n");
    tree = KspliceTree.at(path, orig, scratch);
  });
  afterAll(() => {
    tree.forget();
    scratch.remove();
  });

  /** Where the cache keeps what was built from the tree. */
  function resultOf(): string {
    const trees = join(cacheRoot(), "trees");
    const own = readdirSync(trees).find((name) => readFileSync(join(trees, name, "path"), "utf8") === tree.path);
    const images = join(trees, own as string, "images");
    return join(images, readdirSync(images)[0] as string, "result");
  }

  async function done(program: string, ...words: readonly string[]): Promise<RunResult> {
    const result = await tree.ksplice(program, ...words);
    expect(result.exitCode, result.all).toBe(0);
    return result;
  }

  test("--prebuild compiles it once, and leaves the tree as it was", { timeout: 7_200_000 }, async () => {
    const content = tree.content();
    const first = await tree.create("--prebuild", "-j", "2");
    expect(first.exitCode, first.all).toBe(0);
    expect(first.stderr).toContain("the whole kernel is compiled, once");
    expect(tree.content()).toBe(content);
    const second = await tree.create("--prebuild");
    expect(second.exitCode, second.all).toBe(0);
    expect(second.stderr).not.toContain("Build the kernel");
  });

  test("the default ORIG_CONFIG, in the tree, with everything that the build left", {
    timeout: 1_200_000,
  }, async () => {
    const result = resultOf();
    const folder = join(tree.path, "ksplice");
    mkdirSync(folder);
    for (const file of [".config", "flags"]) copyFileSync(join(tree.config, file), join(folder, file));
    for (const file of ["System.map", "Module.symvers"]) copyFileSync(join(result, file), join(folder, file));
    copyFileSync(join(result, "bzImage"), join(folder, "vmlinuz"));
    const modules = join(result, "lib/modules");
    cpSync(join(modules, readdirSync(modules)[0] as string), join(folder, "modules"), { recursive: true });
    const map = readFileSync(join(folder, "System.map"), "utf8");
    writeFileSync(join(folder, "System.map"), map.replace(/^[0-9a-f]{15}. T (vprintk)$/m, "ffffffff81000000 T $1"));
    const wrong = await tree.ksplice("create", "--prebuild", tree.path);
    expect(wrong.exitCode).toBe(255);
    expect(wrong.stderr).toMatch(/BAD_SYSTEM_MAP[\s\S]*vprintk is at/);
    writeFileSync(join(folder, "System.map"), map);
    const before = tree.fingerprint();
    const meminfo = tree.patch("fs/proc/meminfo.c", replace('"MemFree:        "', '"MemFREE:        "'));
    await done("create", "--id=vmlinux", "--description=of vmlinux", `--patch=${meminfo}`, tree.path);
    const misc = tree.patch(
      "fs/binfmt_misc.c",
      replace('"enabled\\n" : "disabled\\n"', '"ENABLED\\n" : "disabled\\n"'),
    );
    await done("create", "--id=module", "--build-modules", `--patch=${misc}`, tree.path);
    expect(tree.fingerprint()).toBe(before);
    built = await findTargetKernel({
      image: join(folder, "vmlinuz"),
      source: {
        path: tree.path,
        config: join(folder, ".config"),
        symvers: join(folder, "Module.symvers"),
        modules: join(folder, "modules"),
      },
    });
    expect(built.release).toMatch(/-tiny-flagged$/);
    const { manifest } = await readUpdate(join(tree.output, "ksplice-module.tar.gz"));
    expect(manifest.kernel).toEqual({ release: built.release, buildId: built.buildId });
    expect(manifest.functions).toMatchObject([{ name: "bm_status_read", object: "binfmt_misc", proven: true }]);
  });

  test("its updates are applied, viewed and undone", { timeout: 1_200_000 }, async () => {
    const updates = ["vmlinux", "module"].map((id) => join(tree.output, `ksplice-${id}.tar.gz`));
    const { files } = await readUpdate(updates[1] as string);
    const whole = scratch.file("whole.ko", files.get("modules/binfmt_misc.ko") as Buffer);
    const host = await runHost({
      kernel: built,
      scratch,
      timeoutSeconds: 1000,
      files: [...updates, whole, join(built.modulesDir as string, "kernel/fs/binfmt_misc.ko")],
      script: `${kspliceGuest}
shows release 'uname -r'
insmod binfmt_misc.ko
status stock
step vmlinux ksplice apply ksplice-vmlinux.tar.gz
step module ksplice apply ksplice-module.tar.gz
shows meminfo 'cat /proc/meminfo'
status patched
step list ksplice view
step id ksplice view --id=vmlinux
step undo-vmlinux ksplice undo vmlinux
step undo-module ksplice undo module
status after
shows gone 'grep Free: /proc/meminfo; ls /sys/kernel/livepatch'
rmmod binfmt_misc
insmod whole.ko
status whole
`,
    });
    expect(host.step("release").stdout.trim()).toBe(built.release);
    for (const name of ["vmlinux", "module", "undo-vmlinux", "undo-module"]) {
      expect([name, host.step(name)]).toMatchObject([name, { exitCode: 0, stdout: "Done!\n" }]);
    }
    expect(host.step("stock").stdout).toBe("enabled\n");
    expect(host.step("meminfo").stdout).toContain("MemFREE:");
    expect(host.step("patched").stdout).toBe("ENABLED\n");
    expect(host.step("list").stdout).toBe("vmlinux: of vmlinux\nmodule: no description available\n");
    expect(host.step("id").stdout).toContain('+	show_val_kb(m, "MemFREE:');
    expect(host.step("after").stdout).toBe("enabled\n");
    expect(host.step("gone").stdout).toMatch(/^MemFree:.*\nSwapFree:.*\n$/);
    expect(host.step("whole").stdout).toBe("ENABLED\n");
  });
});

import { basename } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findTargetKernel } from "../../src/kernel/find.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import type { UpdateChangeResult } from "../../src/update/apply-undo.ts";
import type { HostRun } from "./host-guest.ts";
import { edits, KspliceTree, runUpdates } from "./ksplice-tree.ts";
import { replace, Scratch, testedKernel } from "./stock-kernel.ts";

const meminfo = "fs/proc/meminfo.c";
const misc = "fs/binfmt_misc.c";
const { free, available, fork, shout } = edits;
const again = replace("ENABLED", "Enabled twice");

// The everyday ways are in ksplice.test.ts; each word with which an update is refused takes a guest much longer.
describe.skipIf(process.env["KMEND_LONG_TESTS"] !== "1")("updates that get into each other's way", () => {
  const scratch = new Scratch();
  let stock: TargetKernel;
  let tree: KspliceTree;
  let host: HostRun;
  beforeAll(async () => {
    stock = await findTargetKernel({ kernel: testedKernel });
    tree = await KspliceTree.of(stock, scratch);
    await tree.update("mod", `--patch=${tree.patch(misc, shout)}`);
    await tree.update("mod-2", "--series", `--patch=${tree.patch(misc, again, shout)}`);
    expect((await tree.create("--prebuild", "--series")).exitCode).toBe(0);
    const other = replace('"MemFree:        "', '"MemOTHER:       "');
    await tree.update("other", `--patch=${tree.patch(meminfo, other)}`);
    await tree.update("busy", `--patch=${tree.patch("kernel/fork.c", fork)}`);
    await tree.update("one", "--description=Free memory", `--patch=${tree.patch(meminfo, free)}`);
    await tree.update("two", "--series", `--patch=${tree.patch(meminfo, available, free)}`);
    await tree.update("three", "--series", `--patch=${tree.patch("kernel/fork.c", fork)}`);
    expect(await tree.earlierOf("three")).toEqual(["one", "two"]);
    for (const [id, earlier] of [
      ["mod-2", ["mod"]],
      ["two", ["one"]],
      ["other", []],
      ["one", []],
    ] as const) {
      expect([id, await tree.earlierOf(id)]).toEqual([id, earlier]);
    }
  });
  afterAll(() => {
    tree.forget();
    scratch.remove();
  });

  const file = (id: string): string => basename(tree.updates.get(id) as string);

  test("kmend try: an update of a module, after the one that it goes on top of, and not without", async () => {
    const words = ["--json", "--kernel", stock.release];
    const probe = "mount -t binfmt_misc none /tmp; cat /tmp/status; umount /tmp";
    const paths = ["mod", "mod-2"].map((id) => tree.updates.get(id) as string);
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

  test("the guest comes to its end", async () => {
    const script = `
echo 0 >/proc/sys/kernel/ftrace_enabled
step no-ftrace ksplice apply --raw-errors ${file("one")}
echo 1 >/proc/sys/kernel/ftrace_enabled
step early ksplice apply --raw-errors ${file("two")}
step absent ksplice apply ${file("mod")}
step absent-raw ksplice apply --raw-errors ${file("mod")}

step partial ksplice apply --partial ${file("mod")}
step partial-2 ksplice apply --partial ${file("mod-2")}
insmod shipped.ko
status twice
step below-mod ksplice undo mod
step undo-mod-2 ksplice undo mod_2
status once
step undo-mod ksplice undo mod
status stock

step one ksplice apply ${file("one")}
step other ksplice apply ${file("other")}
step other-raw ksplice apply --raw-errors ${file("other")}
step load kmend load --json ${file("two")}
step loaded ksplice apply ${file("two")}
step three ksplice apply ${file("three")}
step ids ksplice view -q
step file ksplice view --file=${file("three")}
step below-all ksplice undo one
step undo-three ksplice undo three
step undo-two kmend undo --json two
step undo-one ksplice undo one

/modules/vforks &
sleep 1
step busy ksplice apply --timeout=1 --debug ${file("busy")}
shows busy-debug 'cat ksplice-debug.log; ls /sys/module | grep busy'
step busy-raw kmend apply --json --timeout=1 ${file("busy")}
step busy-code ksplice apply --raw-errors --timeout=1 ${file("busy")}
kill -9 $(pidof vforks)
step free ksplice apply --raw-errors ${file("busy")}
step undo-busy ksplice undo --debugfile=/tmp/undo-debug busy
shows undo-debug 'cat /tmp/undo-debug'
step gone ksplice undo busy

tar xzf ${file("one")}
step folder ksplice apply ksplice-one
echo more >>ksplice-one/patch
step changed ksplice apply ksplice-one
shows after 'cat /sys/kernel/livepatch/*/enabled; ls /sys/kernel/livepatch; ls /run/kmend/updates'
echo 1 >/proc/sys/kernel/modules_disabled
step forbidden ksplice apply --raw-errors ${file("busy")}
`;
    host = await runUpdates(stock, tree, scratch, script);
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
    expect(host.step("absent-raw")).toMatchObject({ exitCode: 255, stderr: "target_not_loaded\n" });
    expect(host.step("forbidden")).toMatchObject({ exitCode: 255, stderr: "forbidden\n" });
  });

  test("two updates of a module that is not loaded yet go on top of each other", () => {
    expectDone("partial", "partial-2", "undo-mod-2", "undo-mod");
    expect(host.step("twice").stdout).toBe("Enabled twice\n");
    expect(host.step("below-mod").exitCode).toBe(255);
    expect(host.step("below-mod").stderr).toContain("update mod-2 was built on top of update mod");
    expect(host.step("once").stdout).toBe("ENABLED\n");
    expect(host.step("stock").stdout).toBe("enabled\n");
  });

  test("another update of the same function is kept out; three go on top of each other", () => {
    expectDone("one", "three", "undo-three", "undo-one");
    expect(host.step("other").exitCode).toBe(255);
    expect(host.step("other").stderr).toContain("meminfo_proc_show (vmlinux) was changed by ksplice_one");
    expect(host.step("other-raw")).toMatchObject({ exitCode: 255, stderr: "no_match\n" });
    expect(host.step("load").exitCode, host.step("load").stderr).toBe(0);
    expect(host.step("loaded").stdout).toBe("Ksplice update two already applied.\n");
    expect(host.step("ids").stdout).toBe("one\ntwo\nthree\n");
    expect(host.step("file").stdout).toContain("on top of update one\non top of update two\n");
    expect(host.step("file").stdout).toMatch(/changed function kernel_clone of vmlinux \(kernel\/fork\.c\): proven/);
    expect(host.step("below-all").stderr).toMatch(
      /update two was built on top of update one\n.*update three was built on top of update one\n/,
    );
    expect(host.json<UpdateChangeResult>("undo-two")).toMatchObject({ outcome: "undone", id: "two" });
  });

  test("a task that waits in a function is named with it, in words, as JSON and as a code alone", () => {
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
    expect(host.step("busy-code")).toMatchObject({ exitCode: 255, stderr: "code_busy\n" });
    expectDone("free", "undo-busy");
    expect(host.step("undo-debug").stdout).toMatch(/"outcome": "undone"[\s\S]*'ksplice_busy': unpatching complete/);
    expect(host.step("gone")).toMatchObject({ exitCode: 1, stderr: "Ksplice id busy is not present in the kernel\n" });
  });

  test("an update may be a folder, in which nothing was changed", () => {
    expectDone("folder");
    expect(host.step("changed").exitCode).toBe(255);
    expect(host.step("changed").stderr).toMatch(/BAD_UPDATE[\s\S]*patch does not have the digest/);
    expect(host.step("after").stdout).toBe("1\nksplice_one\none\n");
  });
});

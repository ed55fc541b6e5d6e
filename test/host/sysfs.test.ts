import { type Dirent, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { readTracedFunctions } from "../../src/host/kernel/ftrace-users.ts";
import { thisHost } from "../../src/host/kernel/host.ts";
import { hasLivepatch, readIdleModules, readLoadedPatches } from "../../src/host/kernel/sysfs.ts";
import { countTasks } from "../../src/host/kernel/tasks.ts";
import { signal } from "../../src/host/load/signal.ts";
import { whoHoldsUp } from "../../src/host/load/transition.ts";
import { type RecordedKernel, recordedHost } from "./recorded-host.ts";

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

function tree(kernel: RecordedKernel): string {
  const root = recordedHost(kernel);
  roots.push(root);
  return root;
}

function entriesIn(path: string): readonly Dirent[] {
  return readdirSync(path, { withFileTypes: true });
}

function foldersIn(path: string): readonly string[] {
  return entriesIn(path)
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(path, name));
}

/** The patches in short: name, state, and functions as `object:name,position=patched`. */
async function patchesOf(root: string): Promise<readonly string[]> {
  return (await readLoadedPatches(root)).map(({ name, state, objects }) => {
    const functions = objects.flatMap((object) =>
      object.functions.map((entry) => `${object.name}:${entry.name},${entry.sympos}=${object.patched}`),
    );
    return [name, state, ...functions].join(" ");
  });
}

/** Since Linux 4.15 `force` and `signal`, the latter until 5.0; since 6.1 `patched` of each object; since 6.11 `replace`. */
describe.each([
  ["4.19", ["enabled", "force", "signal", "transition"], [], "planned"],
  ["5.10", ["enabled", "force", "transition"], [], "automatic"],
  ["6.1", ["enabled", "force", "transition"], ["patched"], "automatic"],
  ["6.12", ["enabled", "force", "replace", "transition"], ["patched"], "automatic"],
] as const)("%s", (kernel, ofPatch, ofObject, signalled) => {
  test("every patch and object has the files that this kernel has", () => {
    const folder = join(tree(kernel), "/sys/kernel/livepatch");
    const filesIn = (path: string) =>
      entriesIn(path)
        .filter((entry) => entry.isFile())
        .map(({ name }) => name)
        .sort();
    const patches = foldersIn(folder);
    expect(patches.length).toBeGreaterThan(0);
    for (const patch of patches) {
      expect(filesIn(patch)).toEqual(ofPatch);
      for (const object of foldersIn(patch)) expect(filesIn(object)).toEqual(ofObject);
    }
  });

  test("whether signals are sent by hand", async () => {
    const host = { ...thisHost(), root: tree(kernel), privileged: true };
    expect((await signal({ host, dryRun: true })).outcome).toBe(signalled);
  });
});

describe("4.19: disabled patches stay listed, and nothing says what is applied", () => {
  test("in the order of their load", async () => {
    expect(await patchesOf(tree("4.19"))).toEqual([
      "kpatch_first enabled vmlinux:meminfo_proc_show,1=null",
      "kpatch_second disabling xfs:free_buf.isra.3,2=null xfs:xfs_file_fsync,1=null",
      "kpatch_old disabled vmlinux:cmdline_proc_show,1=null",
    ]);
  });

  test("a kernel thread that sleeps in a patched function", async () => {
    const root = tree("4.19");
    expect(countTasks(root, false)).toEqual({ pending: 1, total: 2 });
    const second = (await readLoadedPatches(root))[1];
    expect(whoHoldsUp({ root }, second as NonNullable<typeof second>)).toMatchObject([
      {
        tid: 812,
        name: "xfsaild/dm-0",
        kernelThread: true,
        schedulerState: "S",
        function: "xfs_file_fsync",
        inPatchedFunction: true,
        unit: null,
      },
    ]);
  });

  test("the list of traced functions is in debugfs", async () => {
    expect(await readTracedFunctions(tree("4.19"))).toMatchObject([
      { name: "meminfo_proc_show", object: "vmlinux", changesAddress: true, direct: false },
      { name: "xfs_file_fsync", object: "xfs", changesAddress: true },
    ]);
  });
});

describe("5.10: replaced modules stay in memory", () => {
  test("without being listed", async () => {
    const root = tree("5.10");
    expect(await patchesOf(root)).toEqual(["livepatch_all enabling ext4:ext4_fill_super,1=null vmlinux:do_one,2=null"]);
    expect(await readIdleModules(root)).toEqual([{ name: "livepatch_one", references: 0 }]);
  });

  test("threads that sleep and run, in a service, with a name like no other", async () => {
    const root = tree("5.10");
    // A task with state -1 is in no transition.
    expect(countTasks(root, true)).toEqual({ pending: 2, total: 3 });
    const [patch] = await readLoadedPatches(root);
    const tasks = whoHoldsUp({ root }, patch as NonNullable<typeof patch>);
    expect(tasks).toMatchObject([
      { tid: 900, name: "web server (1)", schedulerState: "S", function: "ep_poll", unit: "web.service" },
      { tid: 901, pid: 900, schedulerState: "R", stack: null, function: null, inPatchedFunction: false },
    ]);
    expect(tasks[0]?.advice).toContain("systemctl restart web.service");
    expect(tasks[1]?.advice).toContain("switches at its next return");
  });

  test("a BPF program is called directly", async () => {
    const [redirected, traced] = (await readTracedFunctions(tree("5.10"))) ?? [];
    expect(redirected).toMatchObject({ name: "do_one", changesAddress: true, direct: false });
    expect(traced).toMatchObject({ name: "tcp_sendmsg", changesAddress: false, direct: true });
  });
});

describe.each(["6.1", "6.12"] as const)("%s: objects say whether they are patched", (kernel) => {
  test("a stalled transition", async () => {
    const root = tree(kernel);
    expect(await hasLivepatch(root)).toBe(true);
    expect(await patchesOf(root)).toEqual([
      "livepatch_a enabled vmlinux:meminfo_proc_show,1=true",
      "patches_parks enabling parks:parks_show,1=true",
    ]);
    const [, moving] = await readLoadedPatches(root);
    expect(whoHoldsUp({ root }, moving as NonNullable<typeof moving>)).toMatchObject([
      { name: "cat", kernelThread: false, schedulerState: "D", function: "parks_show", inPatchedFunction: true },
    ]);
  });

  test("whether a patch replaces others, the kernel says since 6.11", async () => {
    const [patch] = await readLoadedPatches(tree(kernel));
    expect(patch?.replace).toBe(kernel === "6.1" ? null : false);
    expect(patch).toMatchObject({ stackOrder: null, references: 1, manifest: null });
  });

  test("traced functions", async () => {
    expect(await readTracedFunctions(tree(kernel))).toMatchObject([
      { name: "meminfo_proc_show", object: "vmlinux", changesAddress: true, direct: false },
      { name: "parks_show", object: "parks", changesAddress: true, direct: false },
    ]);
  });
});

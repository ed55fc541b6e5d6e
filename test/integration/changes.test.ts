import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import type { TryResult } from "../../src/vm/try-types.ts";
import { kmend } from "../cli/captured.ts";
import { readPatchModule } from "./patch-module.ts";
import { all, append, build, type Edit, functionNames, replace, Scratch, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let tree: string;
let kernel: TargetKernel;

beforeAll(async () => {
  const stock = await stockKernel();
  tree = stock.tree.path;
  kernel = stock.kernel;
});
afterAll(() => scratch.remove());

async function built(edits: Readonly<Record<string, Edit>>): Promise<BuildResult> {
  const { exitCode, result, stderr } = await build([scratch.patch(tree, edits)], scratch.folder());
  expect(exitCode, `${JSON.stringify(result, null, 1)}\n${stderr}`).toBe(0);
  expect(result.functions.every(({ proven }) => proven)).toBe(true);
  return result;
}

function modulePath(result: BuildResult): string {
  return (result.module as NonNullable<BuildResult["module"]>).path;
}

async function tried(result: BuildResult, ...words: readonly string[]): Promise<TryResult> {
  const { stdout, stderr } = await kmend("try", modulePath(result), "--json", ...words);
  const verdict = JSON.parse(stdout) as TryResult;
  expect(verdict.verdict, `${stdout}\n${stderr}`).toBe("passed");
  return verdict;
}

const versionShow = "static int version_proc_show(";
const versionReturn = "\t\tutsname()->version);\n";

test("lines that a first hunk shifts are not changes, though WARN_ON and lockdep name them", async () => {
  const result = await built({
    "kernel/workqueue.c": all(
      replace("#include <linux/export.h>\n", `${"/* one more line */\n".repeat(7)}#include <linux/export.h>\n`),
      replace("return worker && worker->rescue_wq;", "return worker && worker->rescue_wq && worker->task == current;"),
    ),
  });
  expect(functionNames(result)).toEqual(["current_is_workqueue_rescuer"]);
});

test("renumbered static variables of empty types are not changes", async () => {
  // pr_info_once() brings a static variable, so the lock class keys of all functions behind it get other numbers.
  const result = await built({
    "drivers/md/dm.c": replace(
      "u64 dm_start_time_ns_from_clone(struct bio *bio)\n{\n",
      'u64 dm_start_time_ns_from_clone(struct bio *bio)\n{\n\tpr_info_once("start time\\n");\n',
    ),
  });
  expect(functionNames(result).filter((name) => !name.includes(".cold"))).toEqual(["dm_start_time_ns_from_clone"]);
});

test("the callers of a changed function that ftrace cannot redirect are patched in its place", async () => {
  const result = await built({
    "fs/namei.c": replace(/^static inline int may_create\([^{]*\{\n/m, (matched) => `${matched}\tmight_sleep();\n`),
  });
  const names = functionNames(result);
  for (const name of ["may_create", "vfs_create", "vfs_mkdir"]) expect(names).toContain(name);
});

test("a unit that includes a file which Kbuild makes first, also when its original is known", async () => {
  const edits = {
    "security/apparmor/capability.c": replace(
      /^int aa_capable\([^{]*\{\n/m,
      (matched) => `${matched}\tif (cap < 0)\n\t\treturn -EINVAL;\n\n`,
    ),
  };
  for (const time of ["first", "second"])
    expect(functionNames(await built(edits)), `${time} build`).toContain("aa_capable");
});

test("a change of comments and white space is none", async () => {
  const output = scratch.folder();
  const edits = { "fs/proc/version.c": all(append("/* nothing */\n"), replace(versionShow, `\n\n\n${versionShow}`)) };
  const { exitCode, result } = await build([scratch.patch(tree, edits)], output);
  expect(exitCode).toBe(3);
  expect(result).toMatchObject({ outcome: "unchanged", module: null, functions: [], refusals: [] });
  expect(readdirSync(output)).toEqual([]);
});

test("a header that no unit sees differently changes nothing", async () => {
  const edits = { "fs/proc/internal.h": append("\n#define KMEND_NOT_USED 1\n") };
  const { exitCode, result } = await build([scratch.patch(tree, edits)], scratch.folder());
  expect(exitCode).toBe(3);
  expect(result.outcome).toBe("unchanged");
});

test("a change that too many units see is refused, and they are named", async () => {
  const patch = scratch.patch(tree, {
    "fs/proc/internal.h": replace(
      "get_pid_task(proc_pid(inode), PIDTYPE_PID)",
      "get_pid_task(proc_pid(inode), PIDTYPE_TGID)",
    ),
  });
  const words = ["build", patch, "--kernel", "newest", "--max-units", "10", "-o", scratch.folder()];
  const { exitCode, stderr } = await kmend(...words);
  expect(exitCode, stderr).toBe(4);
  expect(stderr).toContain("error[TOO_MANY_UNITS]");
  expect(stderr).toContain("--max-units");
  const [, count] = /(\d+) units of this kernel see the change of fs\/proc\/internal\.h/.exec(stderr) ?? [];
  const listed = [...stderr.matchAll(/^ +[\w/]+:((?: \S+\.c)+)$/gm)].flatMap(([, names]) => names?.trim().split(" "));
  expect(listed).toHaveLength(Number(count));
  expect(listed).toContain("base.c");
});

test("of the units that include a header, only those that use the changed macro are compiled", async () => {
  const result = await built({ "fs/proc/internal.h": replace("#define PROC_NUMBUF 13", "#define PROC_NUMBUF 21") });
  const users = readdirSync(join(tree, "fs/proc"))
    .filter((name) => name.endsWith(".c") && readFileSync(join(tree, "fs/proc", name), "utf8").includes("PROC_NUMBUF"))
    .map((name) => `fs/proc/${name}`);
  expect(users).not.toEqual([]);
  expect(result.units.map(({ path }) => path).sort()).toEqual(users.sort());
});

test("a header that half of the kernel includes is refused before everything is looked at", async () => {
  const patch = scratch.patch(tree, {
    "include/linux/sched.h": replace(/^#define PF_IDLE\t.*$/m, "#define PF_IDLE 2u"),
  });
  const { exitCode, result, stderr } = await build([patch], scratch.folder());
  expect(exitCode, stderr).toBe(4);
  expect(stderr.match(/^error\[(\w+)\]/gm)).toEqual(["error[TOO_MANY_UNITS]"]);
  expect(stderr).toContain("more than 2000 units of this kernel include include/linux/sched.h");
  expect(stderr).toMatch(/among them are:\n(\s+[\w/-]+\.c\n){20}/);
  expect(stderr).toContain("--max-units");
  expect(result).toMatchObject({ outcome: "failed" });
});

test("a new header that hides another one, which units found in a later folder, is followed", async () => {
  const path = "drivers/usb/gadget/legacy/u_ether.h";
  const hidden = readFileSync(join(tree, "drivers/usb/gadget/function/u_ether.h"), "utf8");
  const other = replace("#define QMULT_DEFAULT 5", "#define QMULT_DEFAULT 7")(hidden);
  const { exitCode, result } = await build([scratch.patch(tree, { [path]: () => other })], scratch.folder());
  expect(exitCode).toBe(4);
  expect(result.refusals).toMatchObject([{ code: "DATA_CHANGED", unit: "drivers/usb/gadget/legacy/ether.c" }]);
});

test("files that this kernel does not build are named", async () => {
  const edits = {
    "arch/arm/mm/fault.c": append("/* arm */\nint kmend_arm;\n"),
    "Documentation/admin-guide/README.rst": append("\nMore.\n"),
    "fs/proc/nommu.c": append("int kmend_nommu;\n"),
  };
  const { exitCode, result } = await build([scratch.patch(tree, edits)], scratch.folder());
  expect(exitCode).toBe(3);
  expect(result.outcome).toBe("unchanged");
  const notes = result.notes.join("\n");
  for (const path of ["arch/arm/mm/fault.c", "fs/proc/nommu.c", "Documentation/admin-guide/README.rst"]) {
    expect(notes).toContain(`${path} is not built for this kernel`);
  }
});

test("a new file that a Makefile lists becomes part of the patch", async () => {
  const result = await built({
    "fs/proc/kmend_extra.c": () =>
      '#include <linux/seq_file.h>\n\nvoid kmend_extra(struct seq_file *m);\n\nvoid kmend_extra(struct seq_file *m)\n{\n\tstatic int reads;\n\n\tseq_printf(m, "extra %d\\n", ++reads);\n}\n',
    "fs/proc/Makefile": replace(/^proc-y\t\+= version\.o\n/m, "proc-y\t+= version.o\nproc-y\t+= kmend_extra.o\n"),
    "fs/proc/version.c": all(
      replace(versionShow, `void kmend_extra(struct seq_file *m);\n\n${versionShow}`),
      replace(versionReturn, `${versionReturn}\tkmend_extra(m);\n`),
    ),
  });
  expect(functionNames(result)).toEqual(["+kmend_extra", "version_proc_show"]);
  expect(result.units.map(({ path }) => path).sort()).toEqual(["fs/proc/kmend_extra.c", "fs/proc/version.c"]);
  const verdict = await tried(result, "--probe", "tail -n 1 /proc/version");
  expect(verdict.probes[0]?.loaded).toBe("extra 1");
});

test("a symbol that several units have, used by new code only, is the one that is not static", async () => {
  const name = "calipso_doi_putdef";
  const kallsyms = kernel.image.kallsyms();
  const entries = [...kallsyms.indicesOf(name)].sort((a, b) => kallsyms.addressOf(a) - kallsyms.addressOf(b));
  const position = entries.findIndex((index) => kallsyms.typeOf(index) === "T") + 1;
  expect(entries.length).toBeGreaterThan(1);
  const result = await built({
    "fs/proc/version.c": all(
      replace(versionShow, `struct calipso_doi;\nvoid ${name}(struct calipso_doi *doi_def);\n\n${versionShow}`),
      replace(versionReturn, `${versionReturn}\t${name}(NULL);\n`),
    ),
  });
  expect(result.symbols).toContainEqual(
    expect.objectContaining({
      name,
      object: "vmlinux",
      sympos: position,
      proof: "the only global symbol of this name",
    }),
  );
  expect(readPatchModule(modulePath(result)).livepatchSymbols).toContain(`vmlinux.${name},${position}`);
});

test("code of a module reaches what only that module has, and is relocated when it is there", async () => {
  const result = await built({
    "drivers/block/zram/zram_drv.c": replace(
      /sz = zcomp_available_show\((.*)\);\n/,
      (matched) => `${matched}\tsz += scnprintf(buf + sz, PAGE_SIZE - sz, "and no other\\n");\n`,
    ),
  });
  const module = readPatchModule(modulePath(result));
  expect(module.livepatchSymbols).toContain("zram.zcomp_available_show,0");
  expect(module.livepatchSections.some((section) => section.startsWith(".klp.rela.zram."))).toBe(true);
  const probe = "tail -n 1 /sys/block/zram0/comp_algorithm";
  const verdict = await tried(result, "--probe", probe, "--module", "zram");
  expect(verdict.probes[0]?.loaded).toBe("and no other");
});

test("a tracepoint of a module fires in its patched function, when it is on", async () => {
  const result = await built({
    "fs/ext4/fsync.c": replace(
      "\ttrace_ext4_sync_file_enter(file, datasync);\n",
      (matched) => `${matched}\tpr_notice("kmend saw it\\n");\n`,
    ),
  });
  expect(readPatchModule(modulePath(result)).livepatchSymbols).toContain("ext4.__tracepoint_ext4_sync_file_exit,0");
  const probe = [
    "[ -d t ] || { mkdir t m; mount -t tracefs t t; truncate -s 16M disk; mke2fs -F disk; mount -t ext4 -o loop disk m; } >/dev/null 2>&1",
    "count() { echo > t/trace; dd if=/dev/zero of=m/f bs=1 count=1 conv=fsync 2>/dev/null; grep -c ext4_sync_file_exit: t/trace; }",
    "turn() { echo $1 > t/events/ext4/ext4_sync_file_exit/enable; }",
    "turn 0; off=$(count); turn 1; on=$(count); turn 0; last=$(count)",
    "all=$(dmesg | grep -c 'kmend saw it'); echo $off $on $last $((all - $(cat seen 2>/dev/null || echo 0))); echo $all > seen",
  ].join("; ");
  const verdict = await tried(
    result,
    "--probe",
    probe,
    ...["loop", "crc32c_generic", "ext4"].flatMap((name) => ["--module", name]),
  );
  expect(verdict.probes[0]).toMatchObject({ before: "0 1 0 0", loaded: "0 1 0 3", after: "0 1 0 0" });
});

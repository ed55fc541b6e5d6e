import { readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RefusalCode } from "../../src/refusals/refusals.ts";
import { all, append, build, type Edit, replace, Scratch, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let tree: string;

beforeAll(async () => {
  tree = (await stockKernel()).tree.path;
});
afterAll(() => scratch.remove());

interface Case {
  readonly title: string;
  readonly edits: Readonly<Record<string, Edit>>;
  readonly code: RefusalCode;
  /** Start of the name of what is refused. */
  readonly what: string;
}

const versionShow = "static int version_proc_show(";
const versionReturn = "\t\tutsname()->version);\n";
const zramParameter = "module_param(num_devices, uint, 0);\n";

/** One change of each kind that a live patch cannot make, on small units of the stock kernel. */
const cases: readonly Case[] = [
  {
    title: "code that ran at boot",
    edits: { "fs/proc/version.c": replace("\tpde_make_permanent(pde);\n", "") },
    code: "INIT_CODE",
    what: "proc_version_init",
  },
  {
    title: "initialised data that is live",
    edits: { "fs/file.c": replace("sysctl_nr_open __read_mostly = 1024*1024", "sysctl_nr_open __read_mostly = 4096") },
    code: "DATA_CHANGED",
    what: "sysctl_nr_open",
  },
  {
    title: "the size of live data",
    edits: { "kernel/panic.c": replace("\tstatic char buf[1024];", "\tstatic char buf[2048];") },
    code: "DATA_SIZE_CHANGED",
    what: "buf.",
  },
  {
    title: "a constant that unchanged code reads",
    edits: { "fs/proc/devices.c": replace(".stop  = devinfo_stop,", ".stop  = NULL,") },
    code: "RODATA_SHARED",
    what: "devinfo_ops",
  },
  {
    title: "assembly",
    edits: { "arch/x86/lib/memmove_64.S": append("\tnop\n") },
    code: "ASSEMBLY",
    what: "arch/x86/lib/memmove_64.S",
  },
  {
    title: "a function that ftrace cannot redirect and that other units call",
    edits: {
      "kernel/time/timekeeping.c": replace(
        "\treturn __ktime_get_fast_ns(&tk_fast_mono);",
        "\treturn __ktime_get_fast_ns(&tk_fast_mono) + 1;",
      ),
    },
    code: "NOT_TRACEABLE",
    what: "ktime_get_mono_fast_ns",
  },
  {
    title: "a function without instrumentation whose address is stored",
    edits: {
      "arch/x86/kernel/paravirt.c": replace("\treturn native_read_cr2();", "\treturn native_read_cr2() | 1;"),
    },
    code: "NOT_TRACEABLE",
    what: "pv_native_read_cr2",
  },
  {
    title: "another level of an init call",
    edits: { "fs/proc/version.c": replace("fs_initcall(proc_version_init)", "late_initcall(proc_version_init)") },
    code: "INITCALL",
    what: "",
  },
  {
    title: "a new init call",
    edits: {
      "fs/proc/version.c": append(
        "\nstatic int __init kmend_init(void)\n{\n\treturn 0;\n}\nfs_initcall(kmend_init);\n",
      ),
    },
    code: "INITCALL",
    what: "",
  },
  {
    title: "a new module parameter",
    edits: {
      "drivers/block/zram/zram_drv.c": replace(
        zramParameter,
        `${zramParameter}static unsigned int kmend_limit;\nmodule_param(kmend_limit, uint, 0644);\n`,
      ),
    },
    code: "MODULE_PARAMETER",
    what: "__param_kmend_limit",
  },
  {
    title: "an export under another licence",
    edits: {
      "lib/string_helpers.c": replace("EXPORT_SYMBOL(string_get_size);", "EXPORT_SYMBOL_GPL(string_get_size);"),
    },
    code: "EXPORT_CHANGED",
    what: "",
  },
  {
    title: "new per-CPU data",
    edits: {
      "fs/proc/version.c": all(
        replace(versionShow, `static DEFINE_PER_CPU(unsigned long, kmend_reads);\n\n${versionShow}`),
        replace(versionReturn, `${versionReturn}\tthis_cpu_inc(kmend_reads);\n`),
      ),
    },
    code: "PERCPU_DATA",
    what: "kmend_reads",
  },
  {
    title: "a source file that is gone",
    edits: { "fs/proc/consoles.c": () => null },
    code: "NEW_UNIT",
    what: "fs/proc/consoles.c",
  },
  {
    title: "compiler flags in a Makefile",
    edits: {
      "fs/proc/Makefile": append("ccflags-y += -DKMEND\n"),
      "fs/proc/version.c": replace(versionReturn, `${versionReturn}\tseq_puts(m, "!");\n`),
    },
    code: "MAKEFILE",
    what: "fs/proc/Makefile",
  },
  {
    title: "a list that the kernel reads once",
    edits: { "fs/proc/version.c": append("\n#include <linux/kprobes.h>\nNOKPROBE_SYMBOL(version_proc_show);\n") },
    code: "SECTION_CHANGED",
    what: "",
  },
  {
    title: "data that is freed after boot",
    edits: {
      "fs/proc/version.c": all(
        replace(versionShow, `static int kmend_early __initdata = 1;\n\n${versionShow}`),
        replace(versionReturn, `${versionReturn}\tseq_printf(m, "%d", READ_ONCE(kmend_early));\n`),
      ),
    },
    code: "SPECIAL_SECTION",
    what: "kmend_early",
  },
  {
    title: "a static variable of the name of one that is gone",
    edits: {
      "fs/inode.c": all(
        replace("\tstatic unsigned int counter;", "\tstatic unsigned int renamed;"),
        replace(
          /if \(counter <= max_reserved\)\s+counter = max_reserved \+ 1;\s+res = counter\+\+;/,
          "res = renamed++;",
        ),
        replace(
          /^void inode_nohighmem\(struct inode \*inode\)\n\{/m,
          "void inode_nohighmem(struct inode *inode)\n{\n\tstatic unsigned int counter;\n\n\tif (counter++ > 9)\n\t\treturn;",
        ),
      ),
    },
    code: "STATIC_LOCAL",
    what: "counter",
  },
  {
    title: "a static key of a module",
    edits: {
      "drivers/md/dm.c": replace(
        "u64 dm_start_time_ns_from_clone(struct bio *bio)\n{\n",
        'u64 dm_start_time_ns_from_clone(struct bio *bio)\n{\n\tif (static_branch_unlikely(&stats_enabled))\n\t\tpr_info_once("statistics are on\\n");\n',
      ),
    },
    code: "JUMP_LABEL_MODULE_KEY",
    what: "dm_start_time_ns_from_clone",
  },
  {
    title: "a symbol that the kernel does not have",
    edits: {
      "fs/proc/version.c": all(
        replace(versionShow, `extern void kmend_nowhere(void);\n\n${versionShow}`),
        replace(versionReturn, `${versionReturn}\tkmend_nowhere();\n`),
      ),
    },
    code: "MISSING_SYMBOL",
    what: "kmend_nowhere",
  },
  {
    title: "a symbol that is static in several units of the kernel",
    edits: {
      "fs/proc/version.c": all(
        replace(versionShow, `int proc_single_open(struct inode *inode, struct file *file);\n\n${versionShow}`),
        replace(versionReturn, `${versionReturn}\tif (!v)\n\t\tproc_single_open(NULL, NULL);\n`),
      ),
    },
    code: "MISSING_SYMBOL",
    what: "proc_single_open",
  },
  {
    title: "a weak function that another unit overrides",
    edits: {
      "fs/proc/meminfo.c": replace(
        /void __attribute__\(\(weak\)\) arch_report_meminfo\(struct seq_file \*m\)\n\{/,
        'void __attribute__((weak)) arch_report_meminfo(struct seq_file *m)\n{\n\tseq_puts(m, "weak\\n");',
      ),
    },
    code: "UNPROVEN_FUNCTION",
    what: "arch_report_meminfo",
  },
];

describe("refused", () => {
  test.each(cases)("$title: $code", async ({ edits, code, what }) => {
    const output = scratch.folder();
    const { exitCode, result, stderr } = await build([scratch.patch(tree, edits)], output);
    const told = JSON.stringify({ ...result, symbols: [] }, null, 1);
    expect(result.outcome, `${told}\n${stderr}`).toBe("refused");
    expect(exitCode).toBe(4);
    expect(result.module).toBeNull();
    const refusal = result.refusals.find((entry) => entry.code === code);
    expect(refusal, JSON.stringify(result.refusals, null, 1)).toBeDefined();
    expect(refusal?.what.startsWith(what), JSON.stringify(refusal)).toBe(true);
    expect(refusal?.where).not.toBe("");
    expect(readdirSync(output)).toEqual([]);
  });
});

test("all reasons are told, not the first only", async () => {
  const patch = scratch.patch(tree, {
    "fs/proc/version.c": replace("fs_initcall(proc_version_init)", "late_initcall(proc_version_init)"),
    "arch/x86/lib/memmove_64.S": append("\tnop\n"),
    "fs/file.c": replace("sysctl_nr_open __read_mostly = 1024*1024", "sysctl_nr_open __read_mostly = 4096"),
  });
  const { exitCode, result } = await build([patch], scratch.folder());
  expect(exitCode).toBe(4);
  const codes = new Set(result.refusals.map(({ code }) => code));
  for (const code of ["INITCALL", "ASSEMBLY", "DATA_CHANGED"] as const) expect(codes).toContain(code);
});

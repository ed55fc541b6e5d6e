import { all, append, type Edit, replace } from "./stock-kernel.ts";

/** Callers, and what they call: show_map_vma() in its own unit, by way of a new function too, and proc_pid_status() in another one. */
export const callers: Record<string, Edit> = {
  "fs/proc/task_mmu.c": all(
    replace(
      "static void\nshow_map_vma(struct seq_file",
      (head) => `static noinline void kmend_prefix(struct seq_file *m, unsigned long start, unsigned long end,
				  vm_flags_t flags, unsigned long long pgoff, dev_t dev, unsigned long ino)
{
	seq_puts(m, "one ");
	show_vma_header_prefix(m, start, end, flags, pgoff, dev, ino);
}

${head}`,
    ),
    replace(
      "\tshow_vma_header_prefix(m, start, end, flags, pgoff, dev, ino);\n\n",
      "\tkmend_prefix(m, start, end, flags, pgoff, dev, ino);\n\n",
    ),
  ),
  "fs/proc/array.c": replace("\t\ttask_mem(m, mm);\n", '\t\tseq_puts(m, "Kmend:\\tone\\n");\n\t\ttask_mem(m, mm);\n'),
};

export function callees(letter: string, peak: string): Record<string, Edit> {
  return {
    "fs/proc/task_mmu.c": all(
      replace("seq_putc(m, flags & VM_READ ? 'r' : '-');", `seq_putc(m, flags & VM_READ ? '${letter}' : '-');`),
      replace('SEQ_PUT_DEC("VmPeak:\\t", hiwater_vm);', `SEQ_PUT_DEC("${peak}:\\t", hiwater_vm);`),
    ),
  };
}

/** Edits of two changes, one after the other. */
export function both(first: Record<string, Edit>, second: Record<string, Edit>): Record<string, Edit> {
  const files = new Set([...Object.keys(first), ...Object.keys(second)]);
  return Object.fromEntries(
    [...files].map((file) => [file, all(...[first[file], second[file]].filter((edit) => edit !== undefined))]),
  );
}

export const edited: Record<string, Edit> = {
  "fs/proc/cmdline.c": replace("seq_putc(m, '\\n');", 'seq_puts(m, " edited\\n");'),
};

/** Works of the patch, which run two seconds after /proc/version was read: so many that the manifest takes more than a page, which is what sysfs gives at once. */
export const works = Array.from({ length: 24 }, (_, number) => `kmend_delayed_${number}`);
export const late: Record<string, Edit> = {
  "fs/proc/version.c": all(
    replace('#include "internal.h"\n', (line) => `#include <linux/workqueue.h>\n${line}`),
    replace(
      "static int version_proc_show(",
      (head) => `static void kmend_work(struct work_struct *work)
{
	pr_info("kmend: late work\\n");
}
${works.map((work) => `static DECLARE_DELAYED_WORK(${work}, kmend_work);\n`).join("")}
${head}`,
    ),
    replace(
      "\treturn 0;\n}\n\nstatic int __init",
      (end) => `${works.map((work) => `\tschedule_delayed_work(&${work}, 2 * HZ);\n`).join("")}${end}`,
    ),
  ),
};

/** Sleeps while the machine's name begins with w. */
const waits = "\twhile (utsname()->nodename[0] == 'w')\n\t\tmsleep(20);\n";
/** The same in code that the compiler takes for cold. */
const chills = `	if (utsname()->nodename[0] == 'w') {
		kmend_seldom();
		do
			msleep(20);
		while (utsname()->nodename[0] == 'w');
	}
`;
const sleepHeaders = "#include <linux/delay.h>\n#include <linux/utsname.h>\n";
const seldom = 'static noinline __attribute__((cold)) void kmend_seldom(void)\n{\n\tpr_info("kmend: cold\\n");\n}\n\n';

/** The files in /proc whose readers sleep in the new code. */
export const sleeping = ["softirqs", "version", "cmdline", "filesystems", "execdomains", "dma"];

/** Tasks that sleep in the function's cold part, in a helper that it ends with a jump to, in the cold part of such a helper, in a helper of another unit, in one of a new file, and in one of a table. */
export const sleepers: Record<string, Edit> = {
  "fs/proc/Makefile": append("obj-y += kmend.o\n"),
  "fs/proc/kmend.c": append(`#include <linux/seq_file.h>
${sleepHeaders}int kmend_new(struct seq_file *m);

static noinline void kmend_tell(struct seq_file *m, const char *what)
{
	seq_printf(m, "new %s\\n", what);
}

int kmend_new(struct seq_file *m)
{
${waits}	kmend_tell(m, "execdomains");
	return 0;
}
`),
  "kernel/dma.c": all(
    replace(
      "static int proc_dma_show(struct seq_file *m, void *v)\n{\n\tint i;",
      (head) => `${sleepHeaders}
static int kmend_one(struct seq_file *m)
{
	seq_puts(m, "one dma\\n");
	return 0;
}

static int kmend_two(struct seq_file *m)
{
${waits}	seq_puts(m, "new dma\\n");
	return 0;
}

static int (*const kmend_table[])(struct seq_file *m) = { kmend_one, kmend_two };

${head}`,
    ),
    replace(/%2d: %s[^#]*\treturn 0;\n/, (end) =>
      end.replace("return 0", "return kmend_table[utsname()->nodename[0] == 'w'](m)"),
    ),
  ),
  "kernel/exec_domain.c": all(
    replace("static int execdomains_proc_show(", (head) => `int kmend_new(struct seq_file *m);\n\n${head}`),
    replace(/0-0[^;]*;\n\treturn 0;\n/, (end) => end.replace("return 0", "return kmend_new(m)")),
  ),
  "fs/filesystems.c": all(
    replace("static int filesystems_proc_show(", (head) => `int kmend_far(struct seq_file *m);\n\n${head}`),
    replace(
      "\treturn 0;\n}\n\nstatic int __init proc_filesystems_init",
      "\treturn kmend_far(m);\n}\n\nstatic int __init proc_filesystems_init",
    ),
  ),
  "fs/proc/softirqs.c": all(
    replace('#include "internal.h"\n', (line) => `${sleepHeaders}${line}`),
    replace("\treturn 0;\n}\n\nstatic int __init", (end) => `${chills}\tseq_puts(p, "new softirqs\\n");\n${end}`),
    replace(
      "/*\n * /proc/softirqs",
      (comment) => `${seldom}int kmend_far(struct seq_file *m);
int kmend_far(struct seq_file *m)
{
${waits}	seq_puts(m, "new filesystems\\n");
	return 0;
}

${comment}`,
    ),
  ),
  "fs/proc/version.c": all(
    replace('#include "internal.h"\n', (line) => `${sleepHeaders}${line}`),
    replace(
      "static int version_proc_show(",
      (head) => `static noinline int kmend_helper(struct seq_file *m)
{
${waits}	seq_puts(m, "new version\\n");
	return 0;
}

${head}`,
    ),
    replace("\treturn 0;\n}\n\nstatic int __init", "\treturn kmend_helper(m);\n}\n\nstatic int __init"),
  ),
  "fs/proc/cmdline.c": all(
    replace("#include <linux/seq_file.h>\n", (line) => `${line}${sleepHeaders}`),
    replace(
      "static int cmdline_proc_show(",
      (head) => `${seldom}static noinline int kmend_rare(struct seq_file *m)
{
	seq_puts(m, "new");
${chills}	seq_puts(m, " cmdline\\n");
	return 0;
}

${head}`,
    ),
    replace("\treturn 0;\n}\n\nstatic int __init", "\treturn kmend_rare(m);\n}\n\nstatic int __init"),
  ),
};

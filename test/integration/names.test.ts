import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ElfReader } from "../../src/elf/reader.ts";
import { readModinfo } from "../../src/patch-module/modinfo.ts";
import { kmend } from "../cli/captured.ts";
import {
  all,
  append,
  type Built,
  build,
  type Edit,
  functionNames,
  replace,
  Scratch,
  stockKernel,
} from "./stock-kernel.ts";

const scratch = new Scratch();
let tree: string;

beforeAll(async () => {
  tree = (await stockKernel()).tree.path;
});
afterAll(() => scratch.remove());

type Edits = Readonly<Record<string, Edit>>;

function built(edits: Edits, folder = scratch.folder()): Promise<Built> {
  return build([scratch.patch(tree, edits)], folder);
}

async function refused(edits: Edits): Promise<string[]> {
  const { exitCode, result } = await built(edits);
  expect(exitCode).toBe(4);
  return result.refusals.map(({ code, what }) => `${code} ${what}`);
}

/** A use in what /proc/version prints. */
function use(text: string, declaration: string): Edit {
  return all(
    replace('#include "internal.h"\n', (found) => `${found}\n${declaration}\n`),
    replace("\t\tutsname()->version);\n", (found) => `${found}${text}`),
  );
}

const vsize = /unsigned long task_vsize\(struct mm_struct \*mm\)\n\{\n[^}]*\}\n/;
const moveVsize = (more: string): Edits => ({
  "fs/proc/task_mmu.c": replace(vsize, ""),
  "fs/proc/util.c": all(
    replace('#include "internal.h"\n', (found) => `#include <linux/mm.h>\n${found}`),
    append(`\nunsigned long task_vsize(struct mm_struct *mm)\n{\n\treturn PAGE_SIZE * mm->total_vm${more};\n}\n`),
  ),
});
const printMore = use('\tseq_puts(m, "more\\n");\n', "");

describe("an undefined name", () => {
  test("does not mean another unit's static, which the refusal names as what it is", async () => {
    const { exitCode, result } = await built({
      "fs/proc/version.c": use("\tshow_stat(m, v);\n", "extern int show_stat(struct seq_file *m, void *v);"),
    });
    expect(exitCode).toBe(4);
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toEqual(["MISSING_SYMBOL show_stat"]);
    expect(result.refusals[0]?.why).toContain("show_stat is static in another unit of vmlinux");
  });

  test("means a static that the patch makes global", async () => {
    const { exitCode, result } = await built({
      "fs/proc/stat.c": replace("static int show_stat(", "int show_stat("),
      "fs/proc/version.c": use("\tshow_stat(m, v);\n", "extern int show_stat(struct seq_file *m, void *v);"),
    });
    expect(exitCode).toBe(0);
    expect(functionNames(result)).toEqual(["version_proc_show"]);
    expect(result.symbols.find(({ name }) => name === "show_stat")?.object).toBe("vmlinux");
  });

  test("is not what has been freed after boot", async () => {
    const data = {
      "fs/proc/version.c": use("\tseq_puts(m, boot_command_line);\n", "extern char boot_command_line[];"),
    };
    expect(await refused(data)).toEqual(["SPECIAL_SECTION boot_command_line"]);
    const code = { "fs/proc/version.c": use("\tproc_root_init();\n", "") };
    expect(await refused(code)).toEqual(["SPECIAL_SECTION proc_root_init"]);
  });
});

describe("a definition in force", () => {
  test("is not the weak one that another unit overrides", async () => {
    const { exitCode, result } = await built({
      "kernel/signal.c": replace(
        /__weak const char \*arch_vma_name\(struct vm_area_struct \*vma\)\n\{\n\treturn NULL;/,
        (found) => found.replace("NULL", '"[generic]"'),
      ),
    });
    expect(exitCode).toBe(4);
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toEqual(["UNPROVEN_FUNCTION arch_vma_name"]);
    expect(result.refusals[0]?.why).toContain(
      "arch_vma_name is weak here, and the strong one of another unit is in force",
    );
  });

  test("does not become another one: strong over weak, strong taken away, a second one", async () => {
    const strong = append("\nunsigned long vma_mmu_pagesize(struct vm_area_struct *vma)\n{\n\treturn 4096;\n}\n");
    expect(await refused({ "arch/x86/mm/hugetlbpage.c": strong })).toEqual(["DEFINITION_CHANGED vma_mmu_pagesize"]);
    const less = replace(
      "void arch_report_meminfo(struct seq_file *m)",
      "void arch_report_other(struct seq_file *m);\nvoid arch_report_other(struct seq_file *m)",
    );
    expect(await refused({ "arch/x86/mm/pat/set_memory.c": less, "fs/proc/version.c": printMore })).toEqual([
      "DEFINITION_CHANGED arch_report_meminfo",
    ]);
    const second = append("\nunsigned long task_vsize(struct mm_struct *mm)\n{\n\treturn 1;\n}\n");
    expect(
      await refused({
        "fs/proc/util.c": all(
          replace("#include <linux/dcache.h>\n", (found) => `${found}#include <linux/mm.h>\n`),
          second,
        ),
      }),
    ).toEqual(["DEFINITION_CHANGED task_vsize"]);
  });

  test("does not go away while others use it", async () => {
    const edits = {
      "fs/proc/task_mmu.c": replace("unsigned long task_vsize(", "static unsigned long __maybe_unused task_vsize_of("),
      "fs/proc/version.c": printMore,
    };
    expect(await refused(edits)).toEqual(["DEFINITION_CHANGED task_vsize"]);
  });
});

describe("a definition that moves to another file", () => {
  test("is the kernel's function, redirected to its new body", async () => {
    const { exitCode, result } = await built(moveVsize(" + 7"));
    expect(exitCode).toBe(0);
    expect(result.functions.map(({ name, unit, change, proven }) => ({ name, unit, change, proven }))).toEqual([
      { name: "task_vsize", unit: "fs/proc/util.c", change: "changed", proven: true },
    ]);
  });

  test("changes nothing where nothing else changes", async () => {
    expect((await built(moveVsize(""))).exitCode).toBe(3);
  });

  test("is the kernel's variable, in every unit", async () => {
    const declaration = "unsigned int sysctl_nr_open __read_mostly = 1024*1024;\n";
    const { exitCode, result } = await built({
      "fs/file.c": all(replace(declaration, ""), replace("if (nr >= sysctl_nr_open)", "if (nr > sysctl_nr_open - 1)")),
      "fs/open.c": replace('#include "internal.h"\n', (found) => `${found}\n${declaration}`),
    });
    expect(exitCode).toBe(0);
    expect(functionNames(result)).toEqual(["expand_files"]);
    expect(result.symbols.find(({ name }) => name === "sysctl_nr_open")?.proof).toBe(
      "address read from the matched code",
    );
  });

  test("keeps its value: another initial one is refused", async () => {
    const edits = {
      "fs/file.c": all(
        replace("unsigned int sysctl_nr_open __read_mostly = 1024*1024;\n", ""),
        replace("if (nr >= sysctl_nr_open)", "if (nr > sysctl_nr_open - 1)"),
      ),
      "fs/open.c": replace(
        '#include "internal.h"\n',
        (found) => `${found}\nunsigned int sysctl_nr_open __read_mostly = 4096;\n`,
      ),
    };
    expect(await refused(edits)).toEqual(["DATA_CHANGED sysctl_nr_open"]);
  });
});

describe("what another module exports", () => {
  test("makes the patch module depend on it, and the kernel count the user", async () => {
    const folder = scratch.folder();
    const { exitCode, result } = await built(
      {
        "drivers/block/loop.c": all(
          replace("#include <linux/module.h>\n", (found) => `${found}#include <linux/crc32c.h>\n`),
          replace(
            'return sysfs_emit(buf, "%llu\\n", (unsigned long long)lo->lo_offset);',
            'return sysfs_emit(buf, "%llu\\n", (unsigned long long)crc32c(~0, &lo->lo_offset, 8));',
          ),
        ),
      },
      folder,
    );
    expect(exitCode).toBe(0);
    const elf = new ElfReader(readFileSync(result.module?.path ?? ""));
    expect(readModinfo(elf).get("depends")).toEqual(["libcrc32c"]);
    expect(elf.symbols.find(({ name }) => name === "crc32c")?.section).toBe(0);
    expect(elf.symbols.filter(({ name }) => name.startsWith(".klp.sym.libcrc32c"))).toEqual([]);
    expect((await kmend("verify", result.module?.path ?? "", "--json")).exitCode).toBe(0);
  });

  test("is nothing that the kernel itself can use", async () => {
    const { exitCode, result } = await built({
      "fs/proc/version.c": use(
        '\tseq_printf(m, "%x\\n", crc32c(0, m, 1));\n',
        "extern u32 crc32c(u32 crc, const void *address, unsigned int length);",
      ),
    });
    expect(exitCode).toBe(4);
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toEqual(["MISSING_SYMBOL crc32c"]);
    expect(result.refusals[0]?.why).toContain("the module libcrc32c exports it");
  });
});

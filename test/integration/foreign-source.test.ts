import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { build } from "../../src/build/build.ts";
import type { BuildOptions, BuildResult } from "../../src/build/build-types.ts";
import { changedFile } from "../../src/change/change-set.ts";
import { sourceTree } from "../../src/kernel/tree-kernel.ts";
import { type Edit, replace, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: StockKernel;
beforeAll(async () => {
  stock = await stockKernel();
});
afterAll(() => scratch.remove());

/** Builds a patch of a file on top of a source in which that file is not quite the kernel's. */
function buildOnto(
  path: string,
  difference: Edit,
  patch: Edit,
  options: Partial<BuildOptions> = {},
): Promise<BuildResult> {
  const text = readFileSync(join(stock.tree.path, path), "latin1");
  const source = difference(text) as string;
  const patched = patch(source) as string;
  const bytes = (content: string): Uint8Array => Buffer.from(content, "latin1");
  return build({
    ...options,
    patches: [],
    target: { ...stock.kernel, distribution: sourceTree },
    output: scratch.folder(),
    name: "foreign",
    earlier: { files: new Map([[path, bytes(source)]]), modules: [] },
    change: async () => ({
      files: changedFile(path, bytes(source), bytes(patched)),
      patches: [{ name: "foreign.patch", sha256: createHash("sha256").update(patched).digest("hex") }],
      notes: [],
    }),
  });
}

const include = "#include <linux/seq_file.h>\n";
const declare =
  (text: string): Edit =>
  (before) =>
    replace(include, `${include}${text}\n`)(before);
/** Puts a statement into the function that shows /proc/version. */
const use = (statement: string): Edit =>
  replace(/\tseq_printf\(m, linux_proc_banner/, (call) => `\t${statement}\n${call}`);
const version = "fs/proc/version.c";

const told = (result: BuildResult): (readonly [string, string])[] =>
  result.refusals.map(({ code, what }) => [code, what]);

const nla = (takes: string): string => `struct sk_buff; extern int nla_put(struct sk_buff *, ${takes});`;

test.each([
  ["a function", nla("int, int, const void *"), "if (!m) nla_put(NULL, 1, 2, NULL);"],
  ["a variable", "extern int sysctl_tcp_max_orphans;", "if (sysctl_tcp_max_orphans == 12345) seq_putc(m, 'x');"],
])("%s that the source declares as the kernel has it is reached", async (_, text, statement) => {
  const result = await buildOnto(version, declare(text), use(statement));
  expect(told(result)).toEqual([]);
  expect(result.outcome).toBe("built");
  // Prototypes are in the kernel's type information, and its own code shows how long a number is.
  expect(result.notes.filter((note) => note.includes("nothing in the kernel tells"))).toEqual([]);
});

test.each<[name: string, declaration: string, statement: string, reason: string | RegExp]>([
  [
    "nla_put",
    nla("const void *, int, int"),
    "if (!m) nla_put(NULL, NULL, 1, 2);",
    "the source declares `int nla_put(struct sk_buff *, const void *, int, int)`, and the kernel has `int nla_put(struct sk_buff *, int, int, const void *)`",
  ],
  [
    "kernel_halt",
    "extern int kernel_halt(void);",
    "if (!m) return kernel_halt();",
    "the source declares `int kernel_halt(void)`, and the kernel has `void kernel_halt(void)`",
  ],
  [
    "sysctl_tcp_max_orphans",
    "extern long sysctl_tcp_max_orphans[64];",
    "if (sysctl_tcp_max_orphans[1] == 12345) seq_putc(m, 'x');",
    "it has 512 bytes here, and vmlinux has room for ",
  ],
  [
    "sysctl_tcp_max_orphans",
    "extern short sysctl_tcp_max_orphans;",
    "if (sysctl_tcp_max_orphans == 12345) seq_putc(m, 'x');",
    /it has 2 bytes here, and (code of the kernel reads or writes 4|in vmlinux there are)/,
  ],
])("%s, which the source declares as something else, is refused", async (name, text, statement, reason) => {
  const result = await buildOnto(version, declare(text), use(statement));
  expect(told(result)).toEqual([["DECLARED_DIFFERENTLY", name]]);
  expect(result.refusals[0]?.why.replace("long int", "long")).toMatch(
    typeof reason === "string" ? RegExp(reason.replace(/[()*]/g, "\\$&")) : reason,
  );
  const accepted = await buildOnto(version, declare(text), use(statement), { allowLayout: [name] });
  expect(accepted.outcome).toBe("built");
  expect(accepted.notes.join()).toContain(`${name}: accepted as --allow-layout says`);
});

test.each<[what: string, name: string, declaration: string, statement: string, reason: RegExp]>([
  [
    "a per-CPU variable as an ordinary one",
    "this_cpu_off",
    "extern unsigned long this_cpu_off;",
    "if (this_cpu_off == 7) seq_putc(m, 'x');",
    /this_cpu_off is a per-CPU variable/,
  ],
  [
    "an ordinary variable as a per-CPU one",
    "sysctl_tcp_max_orphans",
    "#include <linux/percpu.h>\nDECLARE_PER_CPU(int, sysctl_tcp_max_orphans);",
    "if (this_cpu_read(sysctl_tcp_max_orphans) == 7) seq_putc(m, 'x');",
    /takes sysctl_tcp_max_orphans for a per-CPU variable/,
  ],
  [
    "a variable as a function",
    "sysctl_tcp_max_orphans",
    "extern void sysctl_tcp_max_orphans(void);",
    "if (!m) sysctl_tcp_max_orphans();",
    /the kernel has a variable of that name/,
  ],
  [
    "a function as a variable",
    "nla_put",
    "extern int nla_put;",
    "if (nla_put == 7) seq_putc(m, 'x');",
    /the kernel has a function of that name/,
  ],
  [
    "a static key that is true as one that is false",
    "vm_numa_stat_key",
    "#include <linux/jump_label.h>\nextern struct static_key_false vm_numa_stat_key;",
    "if (static_branch_unlikely(&vm_numa_stat_key)) seq_putc(m, 'x');",
    /the kernel's key is true at first/,
  ],
])("%s is refused", async (_, name, text, statement, reason) => {
  const result = await buildOnto(version, declare(text), use(statement));
  expect(told(result)).toContainEqual(["DECLARED_DIFFERENTLY", name]);
  expect(result.refusals.map(({ why }) => why).join("\n")).toMatch(reason);
});

test("a constant of an enum without a name has the kernel's value", async () => {
  const text = (value: number): Edit => declare(`enum { SOCK_WAKE_IO = ${value} };`);
  const statement = use("if (m->count == SOCK_WAKE_IO) seq_putc(m, 'x');");
  expect((await buildOnto(version, text(0), statement)).outcome).toBe("built");
  await expect(buildOnto(version, text(7), statement)).resolves.toMatchObject({ outcome: "refused" });
});

test("a pointer of which only the size is known is told", async () => {
  const result = await buildOnto(
    version,
    declare("extern char *calc_load_update;"),
    use("if (calc_load_update == NULL) seq_putc(m, 'x');"),
  );
  expect(result.outcome).toBe("built");
  expect(result.notes.join()).toContain("the kernel shows the size and no more: char *calc_load_update");
});

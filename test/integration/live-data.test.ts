import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tryModule } from "../../src/vm/try.ts";
import { all, build, type Edit, replace, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: StockKernel;

beforeAll(async () => {
  stock = await stockKernel();
});
afterAll(() => scratch.remove());

function patch(edits: Record<string, Edit>): string {
  return scratch.patch(stock.tree.path, edits);
}

/** A program that asks for a key and prints the error's number, 0 for none: small enough for a command line. */
function addKey(): string {
  const source = `
    static long call(long n, long a, long b, long c, long d, long e) {
      register long r10 __asm__("r10") = d;
      register long r8 __asm__("r8") = e;
      long r;
      __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
      return r;
    }
    void _start(void) {
      long r = call(248, (long)"dns_resolver", (long)"a:kmend", (long)"1.2.3.4", 8, -2);
      char text[2] = { r < 0 ? '0' - r : '0', '\\n' };
      call(1, 1, (long)text, 2, 0, 0);
      call(60, 0, 0, 0, 0, 0);
    }`;
  const program = join(scratch.folder(), "add");
  const words = ["-x", "c", "-", "-o", program, "-static", "-nostdlib", "-Os", "-s", "-fno-stack-protector"];
  execFileSync("gcc", words, { input: source });
  return gzipSync(readFileSync(program)).toString("base64");
}

/** Lists consoles after a line of its own. */
const shown = all(
  replace(
    "static const struct seq_operations consoles_op = {\n",
    (line) => `static int kmend_show(struct seq_file *m, void *v)
{
	seq_puts(m, "kmend ");
	return show_console_dev(m, v);
}

${line}`,
  ),
  replace("\t.show\t= show_console_dev\n", "\t.show\t= kmend_show\n"),
);
const limit = replace("pipe_max_size = 1048576;", "pipe_max_size = 2097152;");

describe("initial data of the kernel that a patch changes", () => {
  test("is refused, with a hint that it can be rewritten", async () => {
    const { exitCode, result } = await build([patch({ "fs/pipe.c": limit })], scratch.folder());
    expect(exitCode).toBe(4);
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toEqual(["DATA_CHANGED pipe_max_size"]);
    expect(result.notes).toContain("kmend adapt (build --adapt) can try to rewrite it: values of pipe_max_size");
  });

  test("is written by callbacks where the kernel has the old value, and put back where it has the new one", async () => {
    const { exitCode, result } = await build([patch({ "fs/pipe.c": limit })], scratch.folder(), "--adapt");
    expect(result.refusals).toEqual([]);
    expect(result.warnings.map(({ code }) => code)).toEqual([]);
    expect(exitCode).toBe(0);
    expect(result.adapted?.parts).toEqual([
      { what: "pipe_max_size", how: "written by a callback: 0x100000UL becomes 0x200000UL" },
    ]);
    const probes = [
      "cat /proc/sys/fs/pipe-max-size",
      "echo 65536 >/proc/sys/fs/pipe-max-size; cat /proc/sys/fs/pipe-max-size",
    ];
    const tried = await tryModule({
      kernel: stock.kernel,
      modulePath: result.module?.path ?? "",
      probes: probes.slice(0, 1),
    });
    expect(tried.failure).toBe(null);
    expect(tried.probes.map(({ before, loaded, after }) => [before, loaded, after].map((said) => said.trim()))).toEqual(
      [["1048576", "2097152", "1048576"]],
    );
    // What an administrator has set is neither changed nor put back.
    const set = await tryModule({
      kernel: stock.kernel,
      modulePath: result.module?.path ?? "",
      probes: probes.slice(1),
    });
    expect(set.failure).toBe(null);
    expect(set.probes.map(({ before, loaded, after }) => [before, loaded, after].map((said) => said.trim()))).toEqual([
      ["65536", "65536", "65536"],
    ]);
  });

  test("a new function of a read-only table is used, and taken back before the module could go", async () => {
    const { exitCode, result } = await build([patch({ "fs/proc/consoles.c": shown })], scratch.folder(), "--adapt");
    expect(result.refusals).toEqual([]);
    expect(exitCode).toBe(0);
    expect(result.adapted?.parts).toEqual([
      { what: "consoles_op.show", how: "written by a callback: &show_console_dev becomes &kmend_show" },
    ]);
    // Who has read the pointer may still be in the function.
    expect(result.warnings.map(({ code }) => code)).toContain("ADDRESS_KEPT");
    const tried = await tryModule({
      kernel: stock.kernel,
      modulePath: result.module?.path ?? "",
      probes: ["cut -c1-5 /proc/consoles"],
    });
    expect(tried.failure).toBe(null);
    const [probe] = tried.probes;
    expect([probe?.before, probe?.loaded].map((said) => said?.trim())).toEqual(["ttyS0", "kmend"]);
  });

  test("a function where a table had none stops what it should, in a module that is loaded before", async () => {
    const vetted = all(
      replace(
        "struct key_type key_type_dns_resolver = {\n",
        (line) => `static int kmend_vet(const char *description)
{
	return -EPERM;
}

${line}	.vet_description = kmend_vet,
`,
      ),
    );
    const { exitCode, result } = await build(
      [patch({ "net/dns_resolver/dns_key.c": vetted })],
      scratch.folder(),
      "--adapt",
    );
    expect(result.refusals).toEqual([]);
    expect(exitCode).toBe(0);
    expect(result.adapted?.parts).toEqual([
      {
        what: "key_type_dns_resolver.vet_description",
        how: "written by a callback: 0x0UL becomes &kmend_vet",
      },
    ]);
    const tried = await tryModule({
      kernel: stock.kernel,
      modulePath: result.module?.path ?? "",
      modules: ["dns_resolver"],
      probes: [`cd /; echo ${addKey()} | base64 -d | gunzip >add; chmod +x add; ./add`],
    });
    expect(tried.failure).toBe(null);
    const [probe] = tried.probes;
    expect([probe?.before, probe?.loaded, probe?.after].map((said) => said?.trim())).toEqual(["0", "1", "0"]);
  });

  test("is refused where the old value has no name in the source any more", async () => {
    const renamed = all(
      replace(/show_console_dev\(struct/, "kmend_show(struct"),
      replace("\t.show\t= show_console_dev\n", "\t.show\t= kmend_show\n"),
    );
    const { exitCode, result } = await build([patch({ "fs/proc/consoles.c": renamed })], scratch.folder(), "--adapt");
    expect(exitCode).toBe(4);
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toContain("NOT_ADAPTABLE consoles_op");
    expect(result.refusals[0]?.why).toMatch(/the running kernel has show_console_dev there.*\(GONE_VALUE\)/);
  });

  test("is refused where code may go through a pointer that is cleared", async () => {
    const { exitCode, result } = await build(
      [patch({ "fs/proc/consoles.c": replace("\t.show\t= show_console_dev\n", "\t.show\t= NULL\n") })],
      scratch.folder(),
      "--adapt",
    );
    expect(exitCode).toBe(4);
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toEqual(["NOT_ADAPTABLE consoles_op"]);
    expect(result.refusals[0]?.why).toContain("(POINTER_CLEARED)");
  });
});

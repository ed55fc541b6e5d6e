import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ElfReader } from "../../src/elf/reader.ts";
import { assemble, compileC, link } from "../fixtures/compile.ts";
import { kmend } from "./captured.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-diff-"));
const at = (name: string): string => join(folder, name);

const source = `
#line 1 "net/unit.c"
static int state;
static noinline int twin(int x) { return take(x) + state++; }
int keep(int x) { return twin(x + 7); }
int visible(int x)
{
#ifdef PATCHED
	if (x < 0)
		return printk("negative");
#endif
	return twin(x) + 1;
}
`;

/** Another unit of the same kernel: it has a local function of the same name, and what the first one calls. */
const neighbour = `
static noinline int twin(int x) { return x * 3; }
int printk(const char *text, ...) { return twin(text[0]); }
int take(int x) { return twin(x); }
asm(".globl __fentry__\\n.type __fentry__, @function\\n__fentry__: ret\\n.size __fentry__, .-__fentry__");
`;

beforeAll(() => {
  const original = compileC(source, ["-g"]);
  writeFileSync(at("a.o"), original);
  writeFileSync(at("b.o"), compileC(source, ["-g", "-DPATCHED"]));
  const kernel = link([compileC(neighbour, ["-fno-builtin"]), original], ["-e", "0", "-Ttext=0xffffffff81000000"]);
  writeFileSync(at("vmlinux"), kernel);
  const listed = execFileSync("nm", ["-n", at("vmlinux")], { encoding: "utf8" });
  writeFileSync(at("System.map"), listed);
  writeFileSync(at("kallsyms"), `${listed}ffffffffc0000000 t twin\t[other]\nffffffffc0000010 T visible\t[other]\n`);
  writeFileSync(at("readelf"), execFileSync("readelf", ["-s", "--wide", at("vmlinux")], { encoding: "utf8" }));
  writeFileSync(
    at("Module.symvers"),
    "0x00000001\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n0x00000002\t__fentry__\tvmlinux\tEXPORT_SYMBOL\t\n",
  );
});

afterAll(() => rmSync(folder, { recursive: true }));

test("--json holds every field of the result and nothing else", async () => {
  const { exitCode, stdout, stderr } = await kmend(
    "diff",
    at("a.o"),
    at("b.o"),
    "--json",
    "--symtab",
    at("vmlinux"),
    "--symvers",
    at("Module.symvers"),
    "-o",
    at("out.o"),
  );
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
  const result = JSON.parse(stdout) as { klpRelocations: { offset: number }[]; changedFunctions: { reason: string }[] };
  const offsets = result.klpRelocations.map(({ offset }) => offset);
  expect(result).toEqual({
    schema: 1,
    outcome: "changed",
    changedFunctions: [
      {
        name: "visible",
        reason: expect.stringMatching(/^.+ \(unit\.c:\d+\)$/),
        offset: expect.any(Number),
        line: expect.stringMatching(/^unit\.c:([5-9]|1[0-3])$/),
      },
    ],
    newFunctions: [],
    newData: [],
    callbacks: [],
    patched: [{ name: "visible", size: expect.any(Number), sympos: 0 }],
    klpRelocations: [
      { section: ".text", symbol: "twin", object: "vmlinux", sympos: 2, type: 2, offset: offsets[0], addend: -4 },
    ],
    specialSections: { __mcount_loc: 8 },
    refusals: [],
    notes: [],
  });
  const extract = new ElfReader(readFileSync(at("out.o")));
  const text = extract.section(".text");
  const relocations = extract.relocationsFor(text?.index as never).map(({ symbol }) => extract.symbols[symbol]?.name);
  expect(relocations.sort()).toEqual([".rodata", "__fentry__", "printk"]);
  expect(extract.sections.map(({ name }) => name).filter((name) => /debug|comment|note|unwind/.test(name))).toEqual([]);
  expect(extract.symbols.some(({ name }) => ["keep", "twin", "state"].includes(name))).toBe(false);
});

test.each(["vmlinux", "System.map", "kallsyms", "readelf"])(
  "--symtab takes a %s, and counts positions as the kernel does",
  async (table) => {
    const { exitCode, stdout } = await kmend(
      "diff",
      at("a.o"),
      at("b.o"),
      "--json",
      "--symtab",
      at(table),
      "--symvers",
      at("Module.symvers"),
    );
    const result = JSON.parse(stdout) as {
      outcome: string;
      refusals: { code: string; what: string }[];
      klpRelocations: object[];
    };
    // Only tables with FILE symbols show which of two local functions is the unit's own.
    if (table === "vmlinux" || table === "readelf") {
      expect(exitCode).toBe(0);
      expect(result.klpRelocations).toMatchObject([{ symbol: "twin", sympos: 2 }]);
    } else {
      expect(exitCode).toBe(4);
      expect(result).toMatchObject({ outcome: "refused", klpRelocations: [] });
      expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toEqual(["AMBIGUOUS_SYMBOL twin"]);
    }
  },
);

test("lines of a module are those of the object that is asked for", async () => {
  const { stdout } = await kmend(
    "diff",
    at("a.o"),
    at("b.o"),
    "--json",
    "--object",
    "other",
    "--symtab",
    at("kallsyms"),
    "--symvers",
    at("Module.symvers"),
  );
  const result = JSON.parse(stdout) as { refusals: { what: string }[]; klpRelocations: object[] };
  expect(result.refusals.map(({ what }) => what)).toEqual([]);
  expect(result.klpRelocations).toMatchObject([{ symbol: "twin", object: "other", sympos: 0 }]);
});

test("two builds of the same source have no difference", async () => {
  const { exitCode, stdout } = await kmend("diff", at("a.o"), at("a.o"), "-o", at("same.o"));
  expect(exitCode).toBe(3);
  expect(stdout).toBe("unchanged\n");
  expect(existsSync(at("same.o"))).toBe(false);
});

test("a refused change is explained, and nothing is written", async () => {
  const changed = "int value = 2; int get(void) { return value; }";
  writeFileSync(at("c.o"), compileC("int value = 1; int get(void) { return value; }"));
  writeFileSync(at("d.o"), compileC(changed));
  const { exitCode, stdout, stderr } = await kmend("diff", at("c.o"), at("d.o"), "-o", at("refused.o"));
  expect(exitCode).toBe(4);
  expect(stdout).toBe("refused\n");
  expect(stderr).toContain("refused[DATA_CHANGED]: value");
  expect(stderr).toContain("hint: ");
  expect(existsSync(at("refused.o"))).toBe(false);
});

test.each([
  ["a folder", () => folder, 2, "FILE_MISSING"],
  ["a file that does not exist", () => at("nothing.o"), 2, "FILE_MISSING"],
  ["a script", () => at("Module.symvers"), 1, "ELF_FORMAT"],
  ["an executable", () => at("vmlinux"), 1, "NOT_RELOCATABLE"],
  ["the first half of an object", () => at("half.o"), 1, "ELF_FORMAT"],
  ["an object for another byte order", () => at("other-machine.o"), 2, "DIFFERENT_MACHINES"],
])("%s is no second object, and the message says which file it is", async (_, path, exit, code) => {
  const object = readFileSync(at("a.o"));
  writeFileSync(at("half.o"), object.subarray(0, object.length / 2));
  const other = Uint8Array.from(assemble("nop"));
  other[48] = 1;
  writeFileSync(at("other-machine.o"), other);
  const { exitCode, stdout, stderr } = await kmend("diff", at("a.o"), path());
  expect(stdout).toBe("");
  expect(stderr).toContain(`error[${code}]`);
  expect(stderr).toContain(path());
  expect(exitCode).toBe(exit);
});

test.each([
  ["--symtab", "SYMBOL_TABLE"],
  ["--symvers", "SYMVERS_DAMAGED"],
])("%s with something else is told apart from a refused change", async (option, code) => {
  mkdirSync(at("any"), { recursive: true });
  writeFileSync(at("any/text"), "some text\n");
  const { exitCode, stderr } = await kmend("diff", at("a.o"), at("b.o"), option, at("any/text"));
  expect(exitCode).toBe(1);
  expect(stderr).toContain(`error[${code}]`);
  expect(await kmend("diff", at("a.o"), at("b.o"), option, at("nothing"))).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining("error[FILE_MISSING]"),
  });
});

test.each(["zram.ko", "a b", "", "x".repeat(56)])("%j is not the name of a kernel object", async (object) => {
  const { exitCode, stderr } = await kmend("diff", at("a.o"), at("b.o"), "--object", object);
  expect(exitCode).toBe(2);
  expect(stderr).toContain("is not the name of a kernel object");
});

import { describe, expect, test } from "vitest";
import { compareObjects } from "../../src/build/compare-objects.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { compileFor, type Machine, machines, toolchain } from "../fixtures/arch/machines.ts";
import { compileC, kernelPrelude } from "../fixtures/compile.ts";

/** Since Linux 6.19, WARN() hands its entry of `__bug_table` to a function: the code has the entry's address. */
const declarations = (address: string): string => `
extern void __WARN_trap(void *, ...);
extern int cond(int);
#define text_of(x) #x
#define line_text(x) text_of(x)
#define ENTRY(format) ({ void *bug; asm volatile("${address}\\n1:\\n.pushsection __bug_table,\\"aw\\"\\n.balign 4\\n2:\\n" \\
	".long 1b - .\\n.long %c1 - .\\n.long .Lfile - .\\n.short " line_text(__LINE__) "\\n.short 7\\n.popsection" : "=r"(bug) : "i"(format)); bug; })
#define WARN(format, value) __WARN_trap(ENTRY(format), value)
asm(".pushsection .rodata.str1.1,\\"aMS\\",%progbits,1\\n.Lfile: .asciz \\"unit.c\\"\\n.popsection");
`;

const body = (added: string, changed: string): string => `
int first(int x) { if (cond(x)) WARN("first %d", x); return take(x) + 1; }
${added}
int second(int x) { ${changed} if (cond(x)) WARN("second %d", x); return take(x) + 2; }
int third(int x) { if (cond(x)) WARN("third %d", x); if (cond(x + 1)) WARN("again %d", x); return take(x) + 3; }
`;
const added = `int added(int x) { if (cond(x)) WARN("added %d", x); return take(x) + 9; }`;

type Compile = (source: string) => Uint8Array;
const builds: readonly (readonly [string, string, Compile])[] = [
  ["x86_64", "lea (2f)(%%rip), %0", (source) => compileC(source, ["-w"])],
  ...([machines.s390x] as readonly Machine[])
    .filter((machine) => toolchain(machine) !== undefined)
    .map((machine): [string, string, Compile] => [
      machine.name,
      "larl %0, 2f",
      (source) => compileFor(machine, ["-w"], `${kernelPrelude}${source}`),
    ]),
];

describe.each(builds)("%s: code that has the address of its entry of __bug_table", (_, address, compile) => {
  const compare = async (patched: string): ReturnType<typeof compareObjects> => {
    const [a, b] = [body("", ""), patched].map((text) =>
      compile(`${declarations(address)}\n#line 10 "unit.c"\n${text}`),
    );
    const input = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: true };
    return compareObjects(a as Uint8Array, b as Uint8Array, input);
  };

  test("is the same when only lines moved, and when an entry comes before it", async () => {
    expect((await compare(`\n\n${body("", "")}`)).result.outcome).toBe("unchanged");
    const { result } = await compare(body(added, ""));
    expect([...result.changedFunctions.map(({ name }) => name), ...result.newFunctions]).toEqual(["added"]);
  });

  test("is another one when it has the entry of another WARN()", async () => {
    const exchanged = body("", "").replace("third %d", "?").replace("again %d", "third %d").replace("?", "again %d");
    expect((await compare(exchanged)).result.changedFunctions.map(({ name }) => name)).toEqual(["third"]);
  });

  test("leads to the carried entry in the extract", async () => {
    const { result, extract } = await compare(body(added, "take(4);"));
    expect(result.changedFunctions.map(({ name }) => name)).toEqual(["second"]);
    const elf = new ElfReader(extract as Uint8Array);
    const [table, text] = [elf.section("__bug_table"), elf.section(".text")];
    expect(table?.size).toBe(2 * 16);
    const toTable = elf
      .relocationsFor(text?.index as never)
      .filter(({ symbol }) => elf.symbols[symbol]?.section === table?.index);
    const bias = address.startsWith("lea") ? 4 : -2;
    expect(toTable.map(({ addend }) => addend + bias)).toEqual([0, 16]);
    const names = elf.symbols.filter(({ section, name }) => section === 0 && name === "__bug_table");
    expect(names).toEqual([]);
  });
});

test("uses of the stack protector go with their function, and are part of what it does", async () => {
  const compare = async (...flags: string[]): Promise<object> => {
    const source = `
      #define GUARD asm volatile("1: nop\\n.pushsection __stack_protector_loc,\\"a\\"\\n.quad 1b\\n.popsection")
      #ifdef UNGUARDED
      #define GUARD_MAYBE asm volatile("1: nop")
      #else
      #define GUARD_MAYBE GUARD
      #endif
      int first(int x) { GUARD; return take(x) + 1; }
      int second(int x) { GUARD; take(x ADDED); GUARD_MAYBE; return x; }`;
    const [a, b] = [["-DADDED="], flags].map((each) => compileC(source, each));
    const input = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: true };
    return (await compareObjects(a as Uint8Array, b as Uint8Array, input)).result;
  };
  expect(await compare("-DADDED=")).toMatchObject({ outcome: "unchanged" });
  const changed = { outcome: "changed", changedFunctions: [{ name: "second" }] };
  expect(await compare("-DADDED=+7")).toMatchObject({ ...changed, specialSections: { __stack_protector_loc: 16 } });
  expect(await compare("-DADDED=", "-DUNGUARDED")).toMatchObject(changed);
});

test("a place behind the entries of a table is refused", async () => {
  const source = `
    int first(int x) { asm volatile("lea 2f(%rip), %rax\\n1: nop\\n.pushsection __bug_table,\\"aw\\"\\n.long 1b - .\\n.short 1, 7\\n2:\\n.popsection"); return take(x ADDED); }`;
  const [a, b] = ["-DADDED=", "-DADDED=+7"].map((flag) => compileC(source, [flag]));
  const input = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: true };
  const { result } = await compareObjects(a as Uint8Array, b as Uint8Array, input);
  expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toEqual(["SPECIAL_SECTION __bug_table"]);
});

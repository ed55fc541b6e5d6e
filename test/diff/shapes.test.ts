import { describe, expect, test } from "vitest";
import { assemble, compileC, link } from "../fixtures/compile.ts";
import { diffObjects, diffPatched, type UnitDiff } from "./diff-units.ts";

/** A function in the assembler of any compiler: `body` between an ftrace call and a return. */
function define(name: string, body: string, entry = "call __fentry__", flags = '"ax",@progbits'): string {
  return `
    .section .text.${name},${flags}
    .globl ${name}
    .type ${name}, @function
    ${name}: ${entry}
    ${body}
    ret
    .size ${name}, .-${name}
  `;
}

/** Compares two assembler sources, which differ where NUMBER stands. */
function diffAssembled(source: string, before = "1", after = "2"): Promise<UnitDiff> {
  return diffObjects(assemble(source.replaceAll("NUMBER", before)), assemble(source.replaceAll("NUMBER", after)));
}

describe("ftrace's entry of a function", () => {
  test.each([
    ["is a call", "call __fentry__", ""],
    ["is a call behind a landing pad", "endbr64\ncall __fentry__", ""],
    ["is a call through the global offset table", "call *__fentry__@GOTPCREL(%rip)", ""],
    [
      "is a nop that a table lists",
      "9: .byte 0x0f,0x1f,0x44,0,0",
      '.pushsection __mcount_loc,"a"\n.quad 9b\n.popsection',
    ],
    [
      "is a nop that a table lists, behind a landing pad",
      "endbr64\n9: .byte 0x0f,0x1f,0x44,0,0",
      '.pushsection __mcount_loc,"a"\n.quad 9b\n.popsection',
    ],
  ])("%s", async (_, entry, table) => {
    const diff = await diffAssembled(define("f", `${table}\nmov $NUMBER, %eax`, entry));
    expect(diff.refusals).toEqual([]);
    expect(diff.redirected).toEqual(["f"]);
  });

  test.each([
    ["a nop that no table lists", ".byte 0x0f,0x1f,0x44,0,0", ""],
    ["a table entry further down", "nop", '9: nop\n.pushsection __mcount_loc,"a"\n.quad 9b\n.popsection'],
    ["a call of something else", "call __entry__", ""],
  ])("is not %s", async (_, entry, body) => {
    const diff = await diffAssembled(define("f", `${body}\nmov $NUMBER, %eax`, entry));
    expect(diff.refusals).toEqual(["NOT_TRACEABLE f"]);
  });
});

test("a section group goes with its function, and the group itself is left out", async () => {
  const grouped = '"axG",@progbits,f,comdat';
  const diff = await diffAssembled(define("f", "mov $NUMBER, %eax", "call __fentry__", grouped) + define("g", "nop"));
  expect(diff.refusals).toEqual([]);
  expect([diff.redirected, diff.carried]).toEqual([["f"], ["f"]]);
});

test("an object of several sources keeps equally named statics apart", async () => {
  const part = (name: string, change: string): Uint8Array =>
    compileC(
      `static int count; static noinline int step(int x) { count += x; return count; } int ${name}(int x) { ${change} return step(x) + take(x); }`,
    );
  const whole = (change: string): Uint8Array => link([part("first", ""), part("second", change)], ["-r"]);
  const diff = await diffObjects(whole(""), whole("x *= 3;"));
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["second"]);
  expect(diff.carried).toEqual(["second"]);
  expect(diff.original.atoms.filter(({ name }) => name === "count")).toHaveLength(2);
  const same = await diffObjects(whole(""), whole(""));
  expect([same.refusals, same.redirected]).toEqual([[], []]);
});

test("_THIS_IP_ is a place in the new code", async () => {
  const diff = await diffPatched(`
    int f(int x) {
    #ifdef PATCHED
      x *= 3;
    #endif
      outside(({ __label__ here; here: (void *)&&here; }));
      return x;
    }
    int g(int x) { outside(({ __label__ here; here: (void *)&&here; })); return x; }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(
    diff
      .routes("f")
      .filter((route) => / f[+-]/.test(route))
      .every((route) => route.includes(" inside ")),
  ).toBe(true);
});

test("every width and sign of a relocation leads to the variable itself", async () => {
  const source = `
    ${define(
      "f",
      `mov $NUMBER, %eax
       mov variable(%rip), %ecx
       movl $5, variable(%rip)
       cmpb $7, variable+3(%rip)
       movq $variable, %rdx
       movabs $variable, %rsi
       mov $variable, %edi
       lea variable-8(,%rax,8), %r8
       movzbl variable+1(%rax), %r9d`,
    )}
    .section .data.variable,"aw",@progbits
    .globl variable
    .type variable, @object
    .align 8
    variable: .quad 1, 2
    .size variable, 16
  `;
  const diff = await diffAssembled(source);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  const targets = diff.routes("f").flatMap((route) => / original variable([+-]\d+)$/.exec(route)?.[1] ?? []);
  expect(targets.map(Number)).toEqual([-4, -8, -2, 0, 0, 0, -8, 1]);
});

test("fixup code of kernels before 5.17 goes with the place whose fault it handles", async () => {
  const access = (name: string, value: string): string =>
    define(
      name,
      `1: mov (%rdi), %eax
       2: add $${value}, %eax
       .pushsection .fixup,"ax"
       3: mov $-14, %eax
       jmp 2b
       .popsection
       .pushsection __ex_table,"a"
       .long 1b - ., 3b - ., 0
       .popsection`,
    );
  const diff = await diffAssembled(access("f", "NUMBER") + access("g", "7"));
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.selection.entries.get("__ex_table")).toHaveLength(1);
  const companions = diff.selection.atoms.filter(({ section }) => section.name === ".fixup");
  expect(companions).toHaveLength(1);
  expect(companions[0]?.references[0]?.target).toMatchObject({ kind: "atom", atom: { name: "f" } });
});

test("an index entry of a message goes with its function", async () => {
  const indexed = (name: string, number: number, value: string): string => `
    ${define(name, `mov $${value}, %edi\ncall printk`)}
    .section .rodata.str1.1,"aMS",@progbits,1
    .Ltext_${name}: .asciz "message of ${name}"
    .section .data.rel.ro.local._entry.${number},"aw",@progbits
    .type _entry.${number}, @object
    .align 8
    _entry.${number}: .quad .Ltext_${name}, 0, ${name}
    .size _entry.${number}, 24
    .section .printk_index,"aw",@progbits
    .type _entry_ptr.${number}, @object
    _entry_ptr.${number}: .quad _entry.${number}
    .size _entry_ptr.${number}, 8
  `;
  const diff = await diffAssembled(indexed("f", 1, "NUMBER") + indexed("g", 3, "9"));
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
});

test.each([
  ["of six bytes", 6],
  ["of four bytes, as one byte of flags more", 4],
])("unwind data %s keeps its pairs", async (_, size) => {
  const unwind = (name: string, value: number): string => `
    .pushsection .orc_unwind_ip,"a"
    .long ${name} - .
    .popsection
    .pushsection .orc_unwind,"a"
    .fill ${size}, 1, ${value}
    .popsection
  `;
  const source = define("f", `${unwind("f", 17)}\nmov $NUMBER, %eax`) + define("g", unwind("g", 33));
  const diff = await diffAssembled(source);
  const entries = diff.selection.entries.get(".orc_unwind_ip") ?? [];
  expect(entries).toHaveLength(1);
  expect(Buffer.from(entries[0]?.partner ?? []).toString("hex")).toBe("11".repeat(size));
});

test("stack traces for user space are nobody's business", async () => {
  const frames = '.pushsection .sframe,"a"\n.long f - .\n.byte NUMBER\n.popsection';
  const diff = await diffAssembled(define("f", `${frames}\nnop`));
  expect([diff.refusals, diff.redirected]).toEqual([[], []]);
});

test("checks of indirect calls keep their traps and their type", async () => {
  const source = `
    .section .text.f,"ax",@progbits
    .type __cfi_f, @function
    __cfi_f: mov $0x12345678, %eax
    .size __cfi_f, .-__cfi_f
    .globl f
    .type f, @function
    f: call __fentry__
    mov $NUMBER, %eax
    mov $0x87654321, %r10d
    add -4(%r11), %r10d
    je 2f
    1: ud2
    .pushsection .kcfi_traps,"ao",@progbits,.text.f
    .long 1b - .
    .popsection
    2: call __x86_indirect_thunk_r11
    ret
    .size f, .-f
  `;
  const diff = await diffAssembled(source);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.selection.entries.get(".kcfi_traps")).toHaveLength(1);
  const [carried] = diff.selection.atoms;
  expect(carried?.symbols.map(({ name }) => name)).toEqual(["__cfi_f", "f"]);
});

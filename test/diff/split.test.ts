import { expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { assemble, compileC } from "../fixtures/compile.ts";
import { atom, diffObjects } from "./diff-units.ts";

async function pieces(source: string, section: string): Promise<string[]> {
  const { atoms } = await readUnitObject(assemble(source));
  return atoms
    .filter((piece) => piece.section.name === section)
    .map(({ kind, name, start, end }) => `${kind} ${name} ${start}-${end}`);
}

test("a prefix belongs to the function behind it", async () => {
  const source = `
    .section .text.f,"ax",@progbits
    .type __pfx_f, @function
    __pfx_f: .fill 16, 1, 0x90
    .size __pfx_f, 16
    .globl f
    .type f, @function
    f: call __fentry__
    ret
    .size f, .-f
  `;
  expect(await pieces(source, ".text.f")).toEqual(["function f 0-22"]);
  const { arch, atoms } = await readUnitObject(assemble(source));
  expect(arch.ftraceEntry(atoms[0] as never, [])).toBe(16);
});

test("a changed function with a prefix is carried with it, and referred to at its entry", async () => {
  const source = (value: number): string => `
    .section .text.f,"ax",@progbits
    .type __pfx_f, @function
    __pfx_f: .fill 16, 1, 0x90
    .size __pfx_f, 16
    .globl f
    .type f, @function
    f: endbr64
    call __fentry__
    mov $${value}, %eax
    ret
    .size f, .-f
    .section .text.g,"ax",@progbits
    .globl g
    .type g, @function
    g: call __fentry__
    mov $${value}, %eax
    call f
    movq $f, %rdi
    ret
    .size g, .-g
  `;
  const diff = await diffObjects(assemble(source(1)), assemble(source(2)));
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f", "g"]);
  expect(
    atom(diff.patched, "f")
      .symbols.map(({ name }) => name)
      .sort(),
  ).toEqual(["__pfx_f", "f"]);
  // Addends count from the start of the prefix.
  expect(diff.routes("g").slice(1)).toEqual(["+0xb inside f+12", "+0x12 original f+16"]);
});

test("aliases of a function are one piece, named by the global one", async () => {
  const object = compileC(`
    int real(int x) { return take(x); }
    extern int __attribute__((alias("real"))) other_name(int x);
    static int hidden(int x) __attribute__((alias("real"), used));
  `);
  const { atoms } = await readUnitObject(object);
  const functions = atoms.filter(({ kind }) => kind === "function");
  expect(functions.map(({ symbols }) => symbols.map(({ name }) => name).sort())).toEqual([
    ["hidden", "other_name", "real"],
  ]);
  expect(["other_name", "real"]).toContain(functions[0]?.name);
});

test("texts are cut at their ends, also wide ones", async () => {
  expect(
    await pieces(
      '.section .rodata.str1.1,"aMS",@progbits,1\n.asciz "one"\n.asciz ""\n.asciz "three"',
      ".rodata.str1.1",
    ),
  ).toEqual(["string .rodata.str1.1+0x0 0-4", "string .rodata.str1.1+0x4 4-5", "string .rodata.str1.1+0x5 5-11"]);
  expect(await pieces('.section .rodata.str4.4,"aMS",@progbits,4\n.long 1, 0x100, 0, 2, 0', ".rodata.str4.4")).toEqual([
    "string .rodata.str4.4+0x0 0-12",
    "string .rodata.str4.4+0xc 12-20",
  ]);
});

test("a text without an end is a piece too", async () => {
  expect(await pieces('.section .rodata.str1.1,"aMS",@progbits,1\n.ascii "open"', ".rodata.str1.1")).toEqual([
    "string .rodata.str1.1+0x0 0-4",
  ]);
});

test("unnamed content is cut where something refers to it", async () => {
  const source = `
    .section .rodata,"a"
    .Lone: .long 1
    .Ltwo: .long 2, 3
    .text
    .globl f
    .type f, @function
    f: mov .Lone(%rip), %eax
    mov .Ltwo(%rip), %eax
    ret
    .size f, .-f
  `;
  expect(await pieces(source, ".rodata")).toEqual(["rodata .rodata+0x0 0-4", "rodata .rodata+0x4 4-12"]);
});

test("padding between variables belongs to nobody", async () => {
  const source = `
    .data
    .type one, @object
    one: .byte 1
    .size one, 1
    .balign 16
    .type two, @object
    two: .quad 2
    .size two, 8
  `;
  expect(await pieces(source, ".data")).toEqual(["data one 0-1", "data two 16-24"]);
});

test("hand-written code is cut at its labels, and the end of a section is the end of its last piece", async () => {
  const source = `
    .text
    .globl start, middle
    start: nop
    nop
    middle: ret
  `;
  expect(await pieces(source, ".text")).toEqual(["code start 0-2", "code middle 2-3"]);
});

test("changed assembly code is refused", async () => {
  const source = (code: string): string => `.text\n.globl start\nstart: ${code}\nret\n`;
  const diff = await diffObjects(assemble(source("nop")), assemble(source("cld")));
  expect(diff.refusals).toEqual(["ASSEMBLY start"]);
});

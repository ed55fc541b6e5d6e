import { expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { broughtItems, ContentReader, isDescription } from "../../src/report/module-contents.ts";
import { assemble } from "../fixtures/compile.ts";

/** By name, the content of what an object brings. */
async function contents(source: string): Promise<Record<string, string>> {
  const unit = await readUnitObject(assemble(source));
  return Object.fromEntries(broughtItems(unit, new ContentReader(unit)).map(({ name, content }) => [name, content]));
}

const padded = (name: string, body: string): string =>
  `.text\n.globl ${name}\n.type ${name}, @function\n${name}:\n${body}\nret\n.size ${name}, .-${name}\n`;

/** Two functions, each with a place that an entry of a table is about. */
const withEntry = (entry: string): string =>
  `${padded("first", "nop\n1: nop\n2: nop")}${padded("second", "nop\n3: nop\n4: nop")}${entry}`;

const table = (name: string, entry: string): string => `.section ${name},"a"\n${entry}\n`;

const branch = (key: string): string => table("__jump_table", `.long 1b - ., 2b - .\n.quad ${key} - .`);
const handler = (type: number): string => table("__ex_table", `.long 1b - ., 2b - ., ${type}`);
const warning = (line: number, flags: number): string =>
  `${table("__bug_table", `.long 1b - ., 9f - .\n.word ${line}, ${flags}`)}.section .rodata.str,"aMS",@progbits,1\n9: .string "a.c"\n`;
const alternative = (code: string, following: string): string =>
  `.section .altinstr_replacement,"ax"\n5: ${code}\n6: ${following}\n7:\n${table(
    ".altinstructions",
    ".long 1b - ., 5b - .\n.word 9\n.byte 1, 6b-5b\n.long 3b - ., 6b - .\n.word 9\n.byte 1, 7b-6b",
  )}`;

test.each([
  ["the key of a static branch", branch("key_a"), branch("key_b")],
  ["the kind of an exception handler", handler(1), handler(3)],
  ["the flags of a warning", warning(3, 1), warning(3, 3)],
  ["the code of an alternative", alternative("lfence", "nop"), alternative("mfence", "nop")],
  ["no alternative code", alternative("nop", "nop"), alternative("", "nop")],
])("%s belongs to the content of its function, and to that of no other", async (_, before, after) => {
  const [old, fresh] = [await contents(withEntry(before)), await contents(withEntry(after))];
  expect(fresh["first"]).not.toBe(old["first"]);
  expect(fresh["second"]).toBe(old["second"]);
});

test("the line of a warning changes nothing that runs", async () => {
  expect(await contents(withEntry(warning(3, 1)))).toEqual(await contents(withEntry(warning(4, 1))));
});

test("a text that code reads relative to itself belongs to its content, whatever stands before it", async () => {
  const unit = (text: string): string =>
    `${padded("first", "lea 8f(%rip), %rdi")}.section .rodata,"a"\n.globl limit\n.type limit, @object\nlimit: .byte 1, 2, 3, 0\n.size limit, 4\n8: .string "${text}"\n`;
  const [old, fresh] = [await contents(unit("old text")), await contents(unit("new text"))];
  expect(fresh["first"]).not.toBe(old["first"]);
  expect(fresh["limit"]).toBe(old["limit"]);
});

test("a function whose name begins as those of the glue is listed", async () => {
  expect(Object.keys(await contents(padded("kmend_log", "nop")))).toEqual(["kmend_log"]);
});

test("the build id that the glue holds against the kernel is compared as that of the kernel", () => {
  expect(isDescription(".data.kmend_kernel")).toBe(true);
  expect(isDescription(".data.kmend")).toBe(false);
});

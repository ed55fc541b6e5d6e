import { expect, test } from "vitest";
import { draftOf } from "../../src/elf/builder.ts";
import { SectionFlag, SectionType } from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { writeObject } from "../../src/elf/writer.ts";
import { assemble, compileC, link } from "../fixtures/compile.ts";

const unit = `
static int counter;
const char *names[] = { "one", "two", "three" };
static noinline int helper(int x) { counter += x; return counter; }
int visible(int x) { printk("%d %s", x, names[x & 1]); return helper(x) + take(x); }
__attribute__((weak)) int maybe(void) { return 7; }
`;

function expectSameBytes(object: Uint8Array): void {
  const written = writeObject(draftOf(new ElfReader(object)));
  expect(Buffer.compare(written, object)).toBe(0);
}

test("an object of the compiler is written as it was read", () => {
  expectSameBytes(compileC(unit));
});

test("debug information keeps its relocations and order", () => {
  expectSameBytes(compileC(unit, ["-g"]));
});

test("an object that ld -r joined from several sources is written as it was read", () => {
  const other = "static int counter = 5; int second(void) { return counter++; }";
  expectSameBytes(link([compileC(unit), compileC(other)], ["-r"]));
});

test("section groups keep their signature symbol and members", () => {
  const object = assemble(`
    .section .text.inline,"axG",@progbits,shared,comdat
    .weak shared
    .type shared, @function
    shared: ret
    .size shared, .-shared
    .section .text.user,"ax",@progbits
    .globl user
    user: call shared
  `);
  const group = new ElfReader(object).section(".group");
  expect(group?.type).toBe(SectionType.group);
  const written = new ElfReader(writeObject(draftOf(new ElfReader(object))));
  const again = written.section(".group");
  expect(written.symbols[again?.info ?? 0]?.name).toBe("shared");
  expect(Buffer.from(again?.data ?? [])).toEqual(Buffer.from(group?.data ?? []));
  expectSameBytes(object);
});

test("more than 65,280 sections need extended indices, in the header and in the symbol table", () => {
  const object = assemble(`
    .altmacro
    .macro function number
    .section .text.f\\number,"ax",@progbits
    f\\number: ret
    .endm
    .set i, 0
    .rept 65400
    function %i
    .set i, i+1
    .endr
    .data
    .quad f65399
  `);
  const elf = new ElfReader(object);
  expect(Buffer.from(object).readUInt16LE(60)).toBe(0);
  expect(elf.sections.length).toBeGreaterThan(65_400);
  const last = elf.symbols.find(({ name }) => name === "f65399");
  expect(elf.sections[last?.section ?? 0]?.name).toBe(".text.f65399");
  // The section number that is in the range of reserved ones is a real section here.
  const reserved = elf.symbols.find(({ section }) => section === 0xff20);
  expect(elf.sections[reserved?.section ?? 0]?.name).toBe(`.text.${reserved?.name}`);
  expectSameBytes(object);
});

test("section flags and the entry sizes of mergeable sections survive", () => {
  const object = compileC('const char *f(void) { return "text"; }');
  const strings = new ElfReader(writeObject(draftOf(new ElfReader(object)))).sections.find(({ name }) =>
    name.includes(".str1.1"),
  );
  expect(strings?.flags).toBe(SectionFlag.alloc | SectionFlag.merge | SectionFlag.strings);
  expect(strings?.entrySize).toBe(1);
});

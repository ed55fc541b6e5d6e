import fc from "fast-check";
import { expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { draftSymbol, emptyDraft } from "../../src/elf/builder.ts";
import { ElfFormatError } from "../../src/elf/format-error.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { writeObject } from "../../src/elf/writer.ts";
import { KmendError } from "../../src/support/errors.ts";
import { assemble, compileC } from "../fixtures/compile.ts";

const unit = compileC(`
static int state;
static const int table[] = { 3, 1, 4 };
__sched int first(int x) { state += x; return take(table[x]); }
__sched int second(int x) { printk("text %d", x); return first(x + 1); }
asm(".section __ex_table,\\"a\\"; .long first - ., second - ., 5; .previous");
asm(".section .smp_locks,\\"a\\"; .long second - .; .previous");
asm(".section .rodata.cst8,\\"aM\\",@progbits,8; .quad 1, 2; .previous");
asm(".section .rodata.wide,\\"aMS\\",@progbits,4; .long 1, 0; .previous");
`);

/** Reads all there is; only an expected failure may come out. */
async function readEverything(file: Uint8Array): Promise<string> {
  try {
    const elf = new ElfReader(file);
    for (const section of elf.sections) {
      elf.relocationsFor(section.index);
      if (section.type === 4) elf.relocations(section);
    }
    elf.symbols.at(-1);
    await readUnitObject(file);
    return "read";
  } catch (error) {
    if (error instanceof KmendError) return error.code;
    throw error;
  }
}

const interesting = [0n, 1n, 2n, 4n, 7n, 8n, 0xffn, 0xff00n, 0xff20n, 0xffffn, 0xffffffffn, 1n << 31n, 1n << 40n];
const huge = [(1n << 50n) + 8n, (1n << 53n) - 1n, 1n << 53n, 1n << 62n, (1n << 64n) - 8n, (1n << 64n) - 1n];

/** Replaces `width` bytes at `at`. */
function withValue(file: Uint8Array, at: number, width: number, value: bigint): Uint8Array {
  const copy = Buffer.from(file);
  for (let byte = 0; byte < width && at + byte < copy.length; byte++)
    copy[at + byte] = Number((value >> BigInt(8 * byte)) & 0xffn);
  return copy;
}

test("every field of the file header and of each section header may hold anything", async () => {
  const { header } = new ElfReader(unit);
  const fields: [number, number][] = [16, 18, 52, 54, 56, 58, 60, 62].map((at) => [at, 2]);
  fields.push([20, 4], [24, 8], [32, 8], [40, 8], [48, 4]);
  for (let section = 0; section < header.sectionCount; section++) {
    const base = header.sectionHeaderOffset + section * 64;
    for (const at of [0, 4, 40, 44]) fields.push([base + at, 4]);
    for (const at of [8, 16, 24, 32, 48, 56]) fields.push([base + at, 8]);
  }
  const outcomes = new Set<string>();
  for (const [at, width] of fields)
    for (const value of [...interesting, ...huge])
      outcomes.add(await readEverything(withValue(unit, at, width, value)));
  expect(outcomes).toContain("ELF_FORMAT");
  expect(outcomes).toContain("read");
});

test("a section that claims to be zero-filled and enormous takes neither time nor memory", async () => {
  const { header, sections } = new ElfReader(unit);
  for (const section of sections.slice(1)) {
    const base = header.sectionHeaderOffset + section.index * 64;
    for (const size of huge) {
      await readEverything(withValue(withValue(unit, base + 4, 4, 8n), base + 32, 8, size));
    }
  }
});

test("an object that is cut off anywhere is read up to an error", async () => {
  for (let length = 0; length < unit.length; length += 7) {
    expect(["ELF_FORMAT", "read"]).toContain(await readEverything(unit.subarray(0, length)));
  }
});

test("10,000 objects with changed bytes are read without a defect", { timeout: 60_000 }, async () => {
  const { header } = new ElfReader(unit);
  const place = fc.oneof(
    fc.nat(unit.length - 1),
    fc.integer({ min: header.sectionHeaderOffset, max: unit.length - 1 }),
    fc.nat(63),
  );
  const value = fc.oneof(fc.constantFrom(...interesting, ...huge), fc.bigInt({ min: 0n, max: 255n }));
  const mutation = fc.record({ place, width: fc.constantFrom(1, 2, 4, 8), value });
  const property = fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 6 }), async (mutations) => {
    let file: Uint8Array = unit;
    for (const { place: at, width, value: bits } of mutations) file = withValue(file, at, width, bits);
    await readEverything(file);
  });
  await fc.assert(property, { numRuns: 10_000, seed: 12 });
});

test("the error says at which byte what is wrong", () => {
  const { header } = new ElfReader(unit);
  const sizeField = header.sectionHeaderOffset + 64 + 32;
  const failure = (): ElfReader => new ElfReader(withValue(unit, sizeField, 8, 1n << 40n));
  expect(failure).toThrow(ElfFormatError);
  expect(failure).toThrow("section 1 runs beyond the end of the file");
  try {
    failure();
  } catch (error) {
    expect(error).toMatchObject({ code: "ELF_FORMAT", offset: sizeField - 8, value: 2 ** 40 + 64 });
  }
});

test.each([
  ["an empty file", new Uint8Array(0), "too short"],
  ["a script", Buffer.from("#!/bin/sh\n".padEnd(80)), "no ELF magic"],
  ["a 32-bit object", withValue(unit, 4, 1, 1n), "not a 64-bit file"],
  ["a byte order that does not exist", withValue(unit, 5, 1, 3n), "unknown byte order"],
])("%s is no object", (_, file, message) => {
  expect(() => new ElfReader(file)).toThrow(message);
});

test("an executable and an object for another machine are told apart from damage", async () => {
  await expect(readUnitObject(withValue(unit, 16, 2, 2n))).rejects.toMatchObject({ code: "NOT_RELOCATABLE" });
  await expect(readUnitObject(withValue(unit, 18, 2, 40n))).rejects.toMatchObject({ code: "ARCHITECTURE" });
});

test("an object without symbols, relocations and sections of content is read", async () => {
  const { atoms, tables } = await readUnitObject(assemble(""));
  expect(atoms).toEqual([]);
  expect(tables.size).toBe(0);
});

test("names that are tails of one endless string do not fill the memory", () => {
  const length = 300_000;
  const draft = emptyDraft(new ElfReader(assemble("nop")));
  draft.stringTable.data = Buffer.concat([Buffer.alloc(1), Buffer.alloc(length, "x"), Buffer.alloc(1)]);
  draft.symbols = Array.from({ length: 20_000 }, (_, at) => draftSymbol({ name: "", section: 0, nameOffset: 1 + at }));
  const elf = new ElfReader(writeObject(draft));
  expect(() => elf.symbols).toThrow("strings overlap without end");
});

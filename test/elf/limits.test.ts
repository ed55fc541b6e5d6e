import { deflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { compareObjects } from "../../src/build/compare-objects.ts";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { draftSection, emptyDraft } from "../../src/elf/builder.ts";
import { readDebugEntries } from "../../src/elf/debug-entries.ts";
import { ElfFormatError } from "../../src/elf/format-error.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { writeObject } from "../../src/elf/writer.ts";
import { assemble, compileC } from "../fixtures/compile.ts";

const progbits = 1;

/** An object with these sections, and nothing else. */
function objectOf(
  sections: Readonly<Record<string, { data: Uint8Array; flags?: number; alignment?: number }>>,
): Uint8Array {
  const draft = emptyDraft(new ElfReader(compileC("int x;")));
  for (const [name, { data, flags = 0, alignment = 1 }] of Object.entries(sections)) {
    const section = draftSection({ name, type: progbits, flags, alignment });
    section.data = data;
    draft.sections.push(section);
  }
  return writeObject(draft);
}

test("many sections with large alignments are refused before the memory is taken", async () => {
  const source = (value: number): string =>
    Array.from(
      { length: 40 },
      (_, at) => `__attribute__((section(".text.f${at}"))) int f${at}(int a) { return a * ${value} + ${at}; }`,
    ).join("\n");
  const [original, patched] = [3, 5].map((value) => {
    const object = Buffer.from(compileC(source(value)));
    const { header, sections } = new ElfReader(object);
    for (const { index, name } of sections) {
      if (name.startsWith(".text.f")) object.writeBigUInt64LE(1n << 26n, header.sectionHeaderOffset + 64 * index + 48);
    }
    return object;
  }) as [Buffer, Buffer];
  const input = { originalName: "a", patchedName: "b", object: "vmlinux", wantsExtract: true };
  await expect(compareObjects(original, patched, input)).rejects.toThrow("alignments of sections leave more room");
});

test("sections that lie on each other are damage", () => {
  const object = Buffer.from(
    objectOf({
      ".a": { data: new Uint8Array(4096) },
      ...Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`.s${at}`, { data: new Uint8Array(8) }])),
    }),
  );
  const { header, sections } = new ElfReader(object);
  const [wide] = sections.filter(({ name }) => name === ".a");
  for (const { index, name } of sections) {
    if (!name.startsWith(".s") || name.startsWith(".sh") || name.startsWith(".sym") || name.startsWith(".str"))
      continue;
    object.writeBigUInt64LE(BigInt(wide?.offset ?? 0), header.sectionHeaderOffset + 64 * index + 24);
    object.writeBigUInt64LE(4096n, header.sectionHeaderOffset + 64 * index + 32);
  }
  expect(() => new ElfReader(object)).toThrow("sections overlap without end");
});

/** Debug information of version 4: one unit whose entries are `body`. Abbreviation 1 is a variable with a DW_FORM_string name, 2 has nothing. */
function debugObject(body: Uint8Array, pack = false): Uint8Array {
  const abbreviations = Buffer.from([1, 0x34, 0, 0x03, 0x08, 0, 0, 2, 0x34, 0, 0, 0, 0]);
  const header = Buffer.alloc(11);
  header.writeUInt32LE(7 + body.length, 0);
  header.writeUInt16LE(4, 4);
  header.writeUInt8(8, 10);
  const info = Buffer.concat([header, body]);
  const packedHeader = Buffer.alloc(24);
  packedHeader.writeUInt32LE(1, 0);
  packedHeader.writeBigUInt64LE(BigInt(info.length), 8);
  return objectOf({
    ".debug_abbrev": { data: abbreviations },
    ".debug_info": pack ? { data: Buffer.concat([packedHeader, deflateSync(info)]), flags: 0x800 } : { data: info },
  });
}

test("a name of debug information without an end is damage", () => {
  const whole = debugObject(Buffer.from([1, 0x61, 0x62, 0]));
  expect([...readDebugEntries(new ElfReader(whole)).values()]).toMatchObject([{ tag: 0x34, name: "ab" }]);
  const endless = debugObject(Buffer.from([1, 0x61, 0x62, 0x63]));
  expect(() => readDebugEntries(new ElfReader(endless))).toThrow(ElfFormatError);
  expect(() => readDebugEntries(new ElfReader(endless))).toThrow("a name without an end");
});

test("a small object that unpacks to more debug information than any unit has is refused", () => {
  const object = debugObject(new Uint8Array(2 << 20).fill(2), true);
  expect(object.length).toBeLessThan(10_000);
  expect(() => readDebugEntries(new ElfReader(object), 100_000)).toThrow("more debug information than any unit has");
});

test("damaged debug information ends in an error or in entries, wherever the damage is", { timeout: 120_000 }, () => {
  for (const flags of [["-gdwarf-4"], ["-gdwarf-5"]]) {
    const whole = compileC(
      "struct a { int b; struct a *next; }; static struct a list; int f(int x) { return x + list.b; }",
      flags,
    );
    const elf = new ElfReader(whole);
    for (const name of [".debug_info", ".debug_abbrev", ".debug_str"]) {
      const section = elf.section(name);
      if (section === undefined) throw new Error(`no ${name}`);
      for (let at = 0; at < section.size; at++) {
        for (const value of [0, 1, 0x08, 0x7f, 0xff]) {
          const damaged = Uint8Array.from(whole);
          damaged[section.offset + at] = value;
          try {
            expect(readDebugEntries(new ElfReader(damaged)).size).toBeLessThan(1000);
          } catch (error) {
            expect(error).toBeInstanceOf(ElfFormatError);
          }
        }
      }
    }
  }
});

/** SHF_MERGE and SHF_STRINGS of gABI chapter 4, and SHF_ALLOC. */
const strings = 0x32;

test("an object of a million strings is refused, and one of many is read", async () => {
  const names = { originalName: "a", patchedName: "b", object: "vmlinux", wantsExtract: true };
  const object = (count: number): Uint8Array =>
    objectOf({ ".rodata.str1.1": { data: Buffer.from("a\0".repeat(count)), flags: strings } });
  await expect(compareObjects(object(1_000_000), object(1_000_000), names)).rejects.toThrow(
    "more functions, objects and strings than any unit has",
  );
  const { atoms } = await readUnitObject(object(2000));
  expect(atoms.filter(({ kind }) => kind === "string")).toHaveLength(2000);
});

test("labels and gaps between them are found in time, however many there are", { timeout: 120_000 }, async () => {
  const count = 60_000;
  const lines = Array.from({ length: count }, (_, at) => `l${at}: .byte 0x90, 0x90`);
  const pieces = Array.from({ length: count }, (_, at) => `d${at}: .byte 1,2,3,4\n.size d${at}, 4\n.zero 4`);
  const pointers = Array.from({ length: count }, (_, at) => `.quad .data.gaps + ${8 * at + 4}`);
  const source = [
    ...['.section .text.labels,"ax",@progbits', ...lines],
    ...['.section .data.gaps,"aw",@progbits', ...pieces],
    ...['.section .data.pointers,"aw",@progbits', ...pointers],
  ].join("\n");
  const { atoms } = await readUnitObject(assemble(`${source}\n`));
  const inSection = (name: string): number => atoms.filter(({ section }) => section.name === name).length;
  expect([inSection(".text.labels"), inSection(".data.gaps")]).toEqual([count, 2 * count]);
});

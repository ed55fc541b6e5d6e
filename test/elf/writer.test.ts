import { expect, test } from "vitest";
import { draftSection, draftSymbol, emptyDraft } from "../../src/elf/builder.ts";
import {
  Binding,
  RelocationX86,
  SectionFlag,
  SectionType,
  SpecialSection,
  SymbolType,
} from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { writeObject } from "../../src/elf/writer.ts";
import { assemble } from "../fixtures/compile.ts";

const any = new ElfReader(assemble("nop"));

/** An object with a local and a global symbol, given in the wrong order, and a livepatch relocation. */
function sample(ident?: Uint8Array): Uint8Array {
  const draft = emptyDraft(any);
  const text = draftSection({
    name: ".text",
    type: SectionType.progbits,
    flags: SectionFlag.alloc | SectionFlag.execinstr,
    alignment: 16,
    data: new Uint8Array([0xe8, 0, 0, 0, 0, 0xc3]),
  });
  const global = draftSymbol({ name: "entry", section: text, binding: Binding.global, type: SymbolType.func, size: 6 });
  const local = draftSymbol({ name: "inner", section: text, value: 5 });
  const live = draftSymbol({
    name: ".klp.sym.vmlinux.printk,0",
    section: SpecialSection.livepatch,
    binding: Binding.global,
  });
  const rela = draftSection({
    name: ".klp.rela.vmlinux..text",
    type: SectionType.rela,
    flags: SectionFlag.alloc | SectionFlag.infoLink | SectionFlag.relaLivepatch,
    alignment: 8,
    entrySize: 24,
    link: draft.symbolTable,
    info: text,
    relocations: [{ offset: 1, type: RelocationX86.plt32, symbol: live, addend: -4 }],
  });
  draft.sections.push(text, rela);
  draft.symbols.push(global, live, local);
  const littleEndian = ident === undefined;
  return writeObject({ ...draft, littleEndian, header: { ...draft.header, ident: ident ?? draft.header.ident } });
}

test("local symbols come first, and sh_info of the symbol table is the number of the first global one", () => {
  const elf = new ElfReader(sample());
  expect(elf.symbols.map(({ name }) => name)).toEqual(["", "inner", "entry", ".klp.sym.vmlinux.printk,0"]);
  expect(elf.section(".symtab")?.info).toBe(2);
});

test("a livepatch relocation section has its flags, its target and its symbol in section 0xff20", () => {
  const file = sample();
  const elf = new ElfReader(file);
  const rela = elf.section(".klp.rela.vmlinux..text");
  expect(rela).toMatchObject({ type: SectionType.rela, flags: 0x100042, entrySize: 24, alignment: 8 });
  expect(elf.sections[rela?.info ?? 0]?.name).toBe(".text");
  expect(elf.sections[rela?.link ?? 0]?.name).toBe(".symtab");
  const [relocation] = elf.relocationsFor(rela?.info as never);
  expect(relocation).toEqual({ offset: 1, type: RelocationX86.plt32, symbol: 3, addend: -4 });
  expect(elf.symbols[3]?.section).toBe(SpecialSection.livepatch);
  const table = elf.section(".symtab");
  expect(Buffer.from(file).readUInt16LE((table?.offset ?? 0) + 3 * 24 + 6)).toBe(0xff20);
});

test("sections start at multiples of their alignment", () => {
  const elf = new ElfReader(sample());
  for (const section of elf.sections.slice(1)) expect(section.offset % Math.max(1, section.alignment)).toBe(0);
});

test("the same draft gives the same bytes", () => {
  expect(Buffer.compare(sample(), sample())).toBe(0);
});

test("a big-endian object is written and read with the same content", () => {
  const ident = Uint8Array.from(any.header.ident);
  ident[5] = 2;
  const file = sample(ident);
  expect(Buffer.from(file).readUInt16BE(18)).toBe(62);
  const big = new ElfReader(file);
  const little = new ElfReader(sample());
  expect(big.littleEndian).toBe(false);
  const shown = (elf: ElfReader): unknown => ({
    sections: elf.sections.map(({ name, type, flags, size, info }) => ({ name, type, flags, size, info })),
    symbols: elf.symbols,
    relocations: elf.relocations(elf.section(".klp.rela.vmlinux..text") as never),
  });
  expect(shown(big)).toEqual(shown(little));
});

test("negative addends and addresses of the top half of memory keep their value", () => {
  const draft = emptyDraft(any);
  const data = draftSection({ name: ".data", type: SectionType.progbits, flags: 3, data: new Uint8Array(16) });
  const symbol = draftSymbol({ name: "top", section: SpecialSection.abs, value: -0x7f000000 });
  const relocations = [
    { offset: 0, type: RelocationX86.abs64, symbol, addend: -1 },
    { offset: 8, type: RelocationX86.abs64, symbol, addend: -(2 ** 40) - 3 },
  ];
  const rela = draftSection({ name: ".rela.data", type: SectionType.rela, info: data, relocations });
  rela.link = draft.symbolTable;
  draft.sections.push(data, rela);
  draft.symbols.push(symbol);
  const elf = new ElfReader(writeObject(draft));
  expect(elf.symbols[1]).toMatchObject({ name: "top", value: -0x7f000000, section: SpecialSection.abs });
  expect(elf.relocations(elf.section(".rela.data") as never).map(({ addend }) => addend)).toEqual([-1, -(2 ** 40) - 3]);
});

test("a draft that names what it does not hold is a programming error", () => {
  const draft = emptyDraft(any);
  const elsewhere = draftSection({ name: ".gone", type: SectionType.progbits });
  draft.symbols.push(draftSymbol({ name: "lost", section: elsewhere }));
  expect(() => writeObject(draft)).toThrow("lost is in a section that the draft does not hold");
});

test("a section number that needs an extended index table is never cut off", () => {
  const draft = emptyDraft(any);
  for (let number = 0; number < 0xff00; number++)
    draft.sections.push(draftSection({ name: ".d", type: SectionType.nobits }));
  draft.symbols.push(draftSymbol({ name: "far", section: draft.sections.at(-1) as never }));
  expect(() => writeObject(draft)).toThrow("SHT_SYMTAB_SHNDX");
});

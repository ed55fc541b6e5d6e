import { expect, test } from "vitest";
import type { KlpRelocation } from "../../src/build/assemble/extract.ts";
import { addKlpRelocations } from "../../src/build/assemble/klp-relocations.ts";
import { RelocationX86 as R, SpecialSection } from "../../src/elf/constants.ts";
import type { Section } from "../../src/elf/model.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { assemble, link } from "../fixtures/compile.ts";

/** A part of a module with places to fill: `.text+1`, `.text+6` and `.data`. */
const part = (name: string): Uint8Array =>
  assemble(`
    .text
    .globl ${name}
    ${name}: .byte 0xe8, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0xc3
    .data
    .quad 0
    .section .kmend.places,"a"
    .quad .text + 1, .text + 6, .data
    .section .comment
    .asciz "compiler"
    .section .debug_info
    .long .text
  `);

function relocation(object: string, name: string, more: Partial<KlpRelocation> = {}): KlpRelocation {
  const symbol = { object, name, sympos: 0, offset: 0 };
  return {
    patchedObject: "vmlinux",
    symbol,
    type: R.plt32,
    addend: -4,
    symbolType: 2,
    section: ".text",
    offset: 0,
    ...more,
  };
}

function finish(relocations: readonly KlpRelocation[], parts = [part("f")]): ElfReader {
  return new ElfReader(addKlpRelocations(link(parts, ["-r"]), relocations));
}

/** `section: offset type symbol+addend` of all livepatch relocations. */
function shown(elf: ElfReader): string[] {
  return elf.sections
    .filter(({ name }) => name.startsWith(".klp.rela."))
    .flatMap((section) =>
      elf
        .relocations(section)
        .map(
          ({ offset, type, symbol, addend }) =>
            `${section.name}: ${offset} ${type} ${elf.symbols[symbol]?.name} ${addend}`,
        ),
    );
}

test("each place gets its relocation, in one section for each object and patched section", () => {
  const elf = finish([
    relocation("vmlinux", "first"),
    relocation("vmlinux", "second"),
    relocation("vmlinux", "table", { type: R.abs64, addend: 16, symbolType: 1 }),
  ]);
  expect(shown(elf)).toEqual([
    `.klp.rela.vmlinux..text: 1 ${R.plt32} .klp.sym.vmlinux.first,0 -4`,
    `.klp.rela.vmlinux..text: 6 ${R.plt32} .klp.sym.vmlinux.second,0 -4`,
    `.klp.rela.vmlinux..data: 0 ${R.abs64} .klp.sym.vmlinux.table,0 16`,
  ]);
  const rela = elf.section(".klp.rela.vmlinux..text") as Section;
  expect(rela).toMatchObject({ type: 4, flags: 0x100042, entrySize: 24, alignment: 8 });
  expect(elf.sections[rela.info]?.name).toBe(".text");
  expect(elf.sections[rela.link]?.name).toBe(".symtab");
});

test("places that the linker moved are found where they are now", () => {
  const list = ["a", "b", "c", "d", "e", "f"].map((name) => relocation("vmlinux", name));
  const elf = finish(list, [part("one"), part("two")]);
  const start = (name: string): number => elf.symbols.find((symbol) => symbol.name === name)?.value ?? -1;
  const text = [start("one") + 1, start("one") + 6, start("two") + 1, start("two") + 6];
  const offsets = shown(elf).map((line) => Number(/: (\d+)/.exec(line)?.[1]));
  expect(offsets).toEqual([...text, 0, 8]);
  expect(shown(elf).map((line) => /klp\.sym\.vmlinux\.(\w)/.exec(line)?.[1])).toEqual(["a", "b", "d", "e", "c", "f"]);
});

test("a symbol that is used twice is there once, another position is another symbol", () => {
  const twin = relocation("vmlinux", "twin");
  const second = { ...twin, symbol: { ...twin.symbol, sympos: 2 } };
  const elf = finish([twin, second, twin]);
  const names = elf.symbols.filter(({ name }) => name.startsWith(".klp.sym.")).map(({ name }) => name);
  expect(names).toEqual([".klp.sym.vmlinux.twin,0", ".klp.sym.vmlinux.twin,2"]);
  for (const symbol of elf.symbols.filter(({ name }) => name.startsWith(".klp.sym."))) {
    expect(symbol).toMatchObject({ section: SpecialSection.livepatch, binding: 1, type: 2, value: 0, size: 0 });
  }
});

test("symbols of a module wait for the patched module, those of the kernel image do not", () => {
  const patched = { patchedObject: "fuse" };
  const elf = finish([
    relocation("fuse", "own", patched),
    relocation("vmlinux", "kernel", patched),
    relocation("cuse", "other", patched),
  ]);
  expect(shown(elf).map((line) => line.replace(/ -?\d+$/, ""))).toEqual([
    `.klp.rela.fuse..text: 1 ${R.plt32} .klp.sym.fuse.own,0`,
    `.klp.rela.vmlinux..text: 6 ${R.plt32} .klp.sym.vmlinux.kernel,0`,
    `.klp.rela.fuse..data: 0 ${R.plt32} .klp.sym.cuse.other,0`,
  ]);
});

test("the list of places, debug information and notes of compilers are gone, with their symbols", () => {
  const elf = finish(["a", "b", "c"].map((name) => relocation("vmlinux", name)));
  const names = elf.sections.map(({ name }) => name);
  expect(names.filter((name) => /kmend|debug|comment|GNU-stack/.test(name))).toEqual([]);
  expect(names).toContain(".text");
  // Section numbers are new; every symbol still is where it was.
  const f = elf.symbols.find(({ name }) => name === "f");
  expect(elf.sections[f?.section ?? 0]?.name).toBe(".text");
  const firstGlobal = elf.symbols.findIndex(({ index, binding }) => index > 0 && binding !== 0);
  expect(elf.section(".symtab")?.info).toBe(firstGlobal);
});

test("another number of places than relocations is a broken invariant", () => {
  expect(() => finish([relocation("vmlinux", "a")])).toThrow("3 places for 1 livepatch relocations");
});

test("a module without livepatch relocations stays without", () => {
  const plain = assemble(".text\nret\n");
  expect(shown(new ElfReader(addKlpRelocations(link([plain], ["-r"]), [])))).toEqual([]);
});

test("names that only the link needed are gone, and what reaches them does still", () => {
  const caller = assemble(".text; .globl g; g: jmp f");
  const finished = new ElfReader(
    addKlpRelocations(
      link([part("f"), caller], ["-r"]),
      [1, 2, 3].map(() => relocation("vmlinux", "x")),
      ["f"],
    ),
  );
  expect(finished.symbols.map(({ name }) => name)).not.toContain("f");
  expect(finished.symbols.map(({ name }) => name)).toContain("g");
  const text = finished.section(".text") as Section;
  const jump = finished.relocationsFor(text.index).find(({ type }) => type === R.plt32 || type === R.pc32);
  expect(finished.symbols[jump?.symbol ?? 0]).toMatchObject({ name: "", binding: 0, value: 0, section: text.index });
});

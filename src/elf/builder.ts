import { Binding, SectionType, SymbolType } from "./constants.ts";
import { ElfFormatError } from "./format-error.ts";
import type { FileHeader } from "./header.ts";
import { type ElfReader, isDefined } from "./reader.ts";

/** A section under construction. Sections refer to each other by object; numbers are given when the file is written. */
export interface DraftSection {
  name: string;
  type: number;
  flags: number;
  alignment: number;
  entrySize: number;
  /** Content; for SHT_RELA and the symbol and string tables it is made by the writer. */
  data: Uint8Array;
  /** Size in memory of a SHT_NOBITS section, in bytes. */
  memorySize: number;
  link: DraftSection | undefined;
  /** Section that sh_info names, or a plain number. */
  info: DraftSection | number;
  /** Entries when the type is SHT_RELA. */
  relocations: DraftRelocation[];
  /** Place in the file that it was read from: sections are laid out in this order, new ones last. */
  readonly origin: number;
  /**
   * Alignment of its place in the file, in bytes, where that is less than `alignment`: gas of binutils 2.44 and later aligns no section of an object to more
   * than 8 there.
   */
  readonly fileAlignment: number | undefined;
  /** sh_addr, which `ld -r` of binutils 2.44 leaves set for sections that are in no memory. */
  readonly address: number;
  /** sh_name in the section name table that it was read with. */
  readonly nameOffset: number | undefined;
}

export interface DraftSymbol {
  name: string;
  value: number;
  size: number;
  binding: number;
  type: number;
  other: number;
  /** A section of the draft, or a `SpecialSection` value. */
  section: DraftSection | number;
  nameOffset: number | undefined;
}

export interface DraftRelocation {
  offset: number;
  type: number;
  symbol: DraftSymbol;
  addend: number;
}

/** An object file that can be edited, then written with {@link writeObject}. */
export interface ObjectDraft {
  readonly header: Pick<FileHeader, "ident" | "type" | "machine" | "version" | "entry" | "flags">;
  readonly littleEndian: boolean;
  sections: DraftSection[];
  /** Without the null symbol. Local ones are written first. */
  symbols: DraftSymbol[];
  symbolTable: DraftSection;
  stringTable: DraftSection;
  nameTable: DraftSection;
}

/** A section with the fields that are given, everything else zero or empty. */
export function draftSection(fields: Partial<DraftSection> & Pick<DraftSection, "name" | "type">): DraftSection {
  return {
    flags: 0,
    alignment: 1,
    entrySize: 0,
    data: new Uint8Array(0),
    memorySize: 0,
    link: undefined,
    info: 0,
    relocations: [],
    origin: Number.POSITIVE_INFINITY,
    fileAlignment: undefined,
    address: 0,
    nameOffset: undefined,
    ...fields,
  };
}

/** A symbol of a draft: local, untyped and at offset 0 unless `fields` say otherwise. */
export function draftSymbol(fields: Partial<DraftSymbol> & Pick<DraftSymbol, "name" | "section">): DraftSymbol {
  return {
    value: 0,
    size: 0,
    binding: Binding.local,
    type: SymbolType.notype,
    other: 0,
    nameOffset: undefined,
    ...fields,
  };
}

/** An empty relocatable object for the same machine and ABI as `like`. */
export function emptyDraft(like: ElfReader): ObjectDraft {
  const { ident, type, machine, version, flags } = like.header;
  const stringTable = draftSection({ name: ".strtab", type: SectionType.strtab });
  const symbolTable = draftSection({
    name: ".symtab",
    type: SectionType.symtab,
    alignment: 8,
    entrySize: 24,
    link: stringTable,
  });
  const nameTable = draftSection({ name: ".shstrtab", type: SectionType.strtab });
  return {
    header: { ident, type, machine, version, entry: 0, flags },
    littleEndian: like.littleEndian,
    sections: [symbolTable, stringTable, nameTable],
    symbols: [],
    symbolTable,
    stringTable,
    nameTable,
  };
}

/** The largest power of two that a place in the file is a multiple of, where that is less than the alignment of the section; otherwise undefined. */
function fileAlignmentOf(offset: number, alignment: number): number | undefined {
  if (alignment <= 1 || offset % alignment === 0) return undefined;
  let power = 1;
  while (offset % (power * 2) === 0) power *= 2;
  return power;
}

/** A draft with everything that a relocatable object holds. @throws ElfFormatError when it has no symbol table. */
export function draftOf(elf: ElfReader): ObjectDraft {
  const sections: DraftSection[] = elf.sections.slice(1).map((section) =>
    draftSection({
      name: section.name,
      type: section.type,
      flags: section.flags,
      alignment: section.alignment,
      entrySize: section.entrySize,
      data: section.data,
      memorySize: section.type === SectionType.nobits ? section.size : 0,
      info: section.info,
      origin: section.offset,
      address: section.address,
      fileAlignment: fileAlignmentOf(section.offset, section.alignment),
      nameOffset: section.nameOffset,
    }),
  );
  const sectionAt = (index: number): DraftSection | undefined => sections[index - 1];
  const symbolTable = sections.find((section) => section.type === SectionType.symtab);
  const nameTable = sectionAt(elf.header.sectionNamesIndex);
  const stringTable =
    symbolTable === undefined ? undefined : sectionAt(elf.sections[sections.indexOf(symbolTable) + 1]?.link ?? 0);
  if (symbolTable === undefined || stringTable === undefined || nameTable === undefined) {
    throw new ElfFormatError("no symbol table", 0);
  }
  const symbols = elf.symbols.slice(1).map((symbol) =>
    draftSymbol({
      ...symbol,
      name: symbol.type === SymbolType.section ? "" : symbol.name,
      section: isDefined(symbol) ? (sectionAt(symbol.section) as DraftSection) : symbol.section,
    }),
  );
  const none = draftSymbol({ name: "", section: 0 });
  for (const section of elf.sections.slice(1)) {
    const draft = sectionAt(section.index) as DraftSection;
    draft.link = sectionAt(section.link);
    if (section.type === SectionType.rela) {
      draft.info = sectionAt(section.info) ?? section.info;
      draft.relocations = elf.relocations(section).map((entry) => ({
        ...entry,
        symbol: entry.symbol === 0 ? none : (symbols[entry.symbol - 1] as DraftSymbol),
      }));
    }
  }
  return { header: elf.header, littleEndian: elf.littleEndian, sections, symbols, symbolTable, stringTable, nameTable };
}

import { Bytes } from "./bytes.ts";
import {
  Binding,
  RELA_SIZE,
  SectionType,
  SHDR_SIZE,
  SHN_LORESERVE,
  SHN_XINDEX,
  SYM_SIZE,
  SymbolType,
} from "./constants.ts";
import { ElfFormatError } from "./format-error.ts";
import { byteOrder, type FileHeader, readFileHeader } from "./header.ts";
import type { ElfSymbol, Relocation, Section, SectionIndex, SymbolIndex } from "./model.ts";
import { RelaEntries } from "./rela-entries.ts";
import { StringTable } from "./strings.ts";

/**
 * A 64-bit ELF file of either byte order, read lazily: symbols and relocations are decoded when first asked for.
 * Everything it hands out is a view or a copy; the file itself is never changed.
 */
export class ElfReader {
  readonly file: Uint8Array;
  readonly bytes: Bytes;
  readonly header: FileHeader;
  readonly sections: readonly Section[];
  #symbols: readonly ElfSymbol[] | undefined;
  readonly #relocations = new Map<SectionIndex, readonly Relocation[]>();
  #relaOf: Map<number, Section[]> | undefined;
  #byName: Map<string, Section> | undefined;

  /** @throws ElfFormatError with the offset of the first thing that is wrong. */
  constructor(file: Uint8Array) {
    this.file = file;
    this.bytes = new Bytes(file, byteOrder(file) === "little");
    this.header = readFileHeader(this.bytes);
    this.sections = readSections(this.bytes, this.header);
  }

  get littleEndian(): boolean {
    return this.bytes.littleEndian;
  }

  /** The first section of that name. */
  section(name: string): Section | undefined {
    this.#byName ??= indexByName(this.sections);
    return this.#byName.get(name);
  }

  /** The symbols of the SHT_SYMTAB section, or of none. */
  get symbols(): readonly ElfSymbol[] {
    this.#symbols ??= readSymbols(this);
    return this.#symbols;
  }

  /** SHT_RELA sections whose sh_info names `target`, in file order. Livepatch relocations make several for one target possible. */
  relocationSections(target: SectionIndex): readonly Section[] {
    if (this.#relaOf === undefined) {
      this.#relaOf = new Map();
      for (const section of this.sections) {
        if (section.type !== SectionType.rela) continue;
        const list = this.#relaOf.get(section.info);
        if (list === undefined) this.#relaOf.set(section.info, [section]);
        else list.push(section);
      }
    }
    return this.#relaOf.get(target) ?? [];
  }

  /** Entries of one SHT_RELA section. */
  relocations(rela: Section): readonly Relocation[] {
    let list = this.#relocations.get(rela.index);
    if (list === undefined) {
      list = readRelocations(this, rela);
      this.#relocations.set(rela.index, list);
    }
    return list;
  }

  /** All relocations that patch `target`, in order of their sections and entries. */
  relocationsFor(target: SectionIndex): readonly Relocation[] {
    const sections = this.relocationSections(target);
    if (sections.length === 1) return this.relocations(sections[0] as Section);
    return sections.flatMap((section) => this.relocations(section));
  }
}

function indexByName(sections: readonly Section[]): Map<string, Section> {
  const map = new Map<string, Section>();
  for (const section of sections) if (!map.has(section.name)) map.set(section.name, section);
  return map;
}

/** 64 MiB. The largest that kernels ask for is a huge page, 2 MiB; what is written with it grows by as much. */
const largestAlignment = 1 << 26;

/** How many times the file's size its sections may have together; gABI chapter 4 lets none overlap. */
const overlapLimit = 4;

const noBytes = new Uint8Array(0);

function readSections(bytes: Bytes, header: FileHeader): Section[] {
  const nameTable = sectionNames(bytes, header);
  const sections: Section[] = [];
  let total = 0;
  for (let index = 0; index < header.sectionCount; index++) {
    const at = header.sectionHeaderOffset + index * SHDR_SIZE;
    const type = bytes.u32(at + 4);
    const offset = index === 0 ? 0 : bytes.size(at + 24);
    const size = index === 0 ? 0 : bytes.size(at + 32);
    const hasData = type !== SectionType.nobits && type !== SectionType.null;
    if (hasData && offset + size > bytes.length) {
      throw new ElfFormatError(`section ${index} runs beyond the end of the file`, at + 24, offset + size);
    }
    if (hasData) total += size;
    const alignment = bytes.size(at + 48);
    if (alignment > 1 && !Number.isInteger(Math.log2(alignment))) {
      throw new ElfFormatError(`alignment of section ${index} is no power of two`, at + 48, alignment);
    }
    if (alignment > largestAlignment)
      throw new ElfFormatError(`absurd alignment of section ${index}`, at + 48, alignment);
    const nameOffset = bytes.u32(at);
    sections.push({
      index: index as SectionIndex,
      name: nameTable?.at(nameOffset) ?? "",
      nameOffset,
      type,
      flags: bytes.size(at + 8),
      address: bytes.i64(at + 16),
      offset,
      size,
      link: index === 0 ? 0 : bytes.u32(at + 40),
      info: bytes.u32(at + 44),
      alignment,
      entrySize: bytes.size(at + 56),
      data: hasData ? bytes.data.subarray(offset, offset + size) : noBytes,
    });
  }
  if (total > overlapLimit * bytes.length)
    throw new ElfFormatError("sections overlap without end", header.sectionHeaderOffset, total);
  return sections;
}

/** The string table of section names; undefined in a file that has none. */
function sectionNames(
  bytes: Bytes,
  { sectionHeaderOffset, sectionCount, sectionNamesIndex }: FileHeader,
): StringTable | undefined {
  if (sectionCount === 0) return undefined;
  const at = sectionHeaderOffset + sectionNamesIndex * SHDR_SIZE;
  const isTable = sectionNamesIndex < sectionCount && bytes.u32(at + 4) === SectionType.strtab;
  if (isTable) {
    const [offset, size] = [bytes.size(at + 24), bytes.size(at + 32)];
    if (offset + size > bytes.length)
      throw new ElfFormatError(`section ${sectionNamesIndex} runs beyond the end of the file`, at + 24, offset + size);
    return new StringTable(bytes.data.subarray(offset, offset + size), offset);
  }
  if (sectionNamesIndex === 0) return undefined;
  throw new ElfFormatError("section name table is not a string table", 62, sectionNamesIndex);
}

function readSymbols(elf: ElfReader): ElfSymbol[] {
  const table = elf.sections.find((section) => section.type === SectionType.symtab);
  if (table === undefined) return [];
  if (table.size % SYM_SIZE !== 0)
    throw new ElfFormatError("symbol table size is no multiple of its entries", table.offset, table.size);
  const strings = elf.sections[table.link];
  if (strings === undefined || strings.type !== SectionType.strtab) {
    throw new ElfFormatError("symbol table without a string table", table.offset, table.link);
  }
  const extended = elf.sections.find(
    (section) => section.type === SectionType.symtabShndx && section.link === table.index,
  );
  const names = new StringTable(strings.data, strings.offset);
  const bytes = new Bytes(table.data, elf.littleEndian, table.offset);
  const indices = extended === undefined ? undefined : new Bytes(extended.data, elf.littleEndian, extended.offset);
  const symbols: ElfSymbol[] = [];
  for (let index = 0, at = 0; at < table.size; index++, at += SYM_SIZE) {
    const info = bytes.u8(at + 4);
    let section = bytes.u16(at + 6);
    if (section === SHN_XINDEX && indices !== undefined) section = indices.u32(index * 4);
    else if (section >= SHN_LORESERVE) section -= 0x10000;
    if (section >= elf.sections.length) {
      throw new ElfFormatError(`symbol ${index} is in a section that does not exist`, table.offset + at + 6, section);
    }
    const type = info & 15;
    const nameOffset = bytes.u32(at);
    const own = names.at(nameOffset);
    symbols.push({
      index: index as SymbolIndex,
      name: type === SymbolType.section && own === "" ? (elf.sections[section]?.name ?? "") : own,
      nameOffset,
      value: bytes.i64(at + 8),
      size: bytes.i64(at + 16),
      binding: info >> 4,
      type,
      other: bytes.u8(at + 5),
      section: section as SectionIndex,
    });
  }
  return symbols;
}

function readRelocations(elf: ElfReader, rela: Section): Relocation[] {
  if (rela.size % RELA_SIZE !== 0)
    throw new ElfFormatError(`size of ${rela.name} is no multiple of its entries`, rela.offset, rela.size);
  const { littleEndian } = elf;
  const entries = new RelaEntries(rela.data, littleEndian);
  const symbolCount = elf.symbols.length;
  const list: Relocation[] = [];
  for (let number = 0; number < entries.count; number++) {
    const symbol = entries.symbol(number);
    if (symbol >= symbolCount && symbol !== 0) {
      throw new ElfFormatError(
        `relocation in ${rela.name} names a symbol that does not exist`,
        rela.offset + number * RELA_SIZE + 8,
        symbol,
      );
    }
    list.push({
      offset: entries.offset(number),
      type: entries.type(number),
      symbol: symbol as SymbolIndex,
      addend: entries.addend(number),
    });
  }
  return list;
}

/** True for a symbol that has a place in a section of its own object. */
export function isDefined(symbol: ElfSymbol): boolean {
  return symbol.section > 0;
}

/** True for STB_LOCAL. */
export function isLocal(symbol: ElfSymbol): boolean {
  return symbol.binding === Binding.local;
}

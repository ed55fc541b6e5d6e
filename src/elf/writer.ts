import type { DraftSection, DraftSymbol, ObjectDraft } from "./builder.ts";
import { putI64 } from "./bytes.ts";
import {
  Binding,
  EHDR_SIZE,
  RELA_SIZE,
  SectionType,
  SHDR_SIZE,
  SHN_LORESERVE,
  SHN_XINDEX,
  SYM_SIZE,
} from "./constants.ts";
import { Padding } from "./padding.ts";
import { StringTableBuilder } from "./strings.ts";

/**
 * Writes a relocatable object. Sections keep their numbers and, where they were read from a file, their order in it; local symbols come first,
 * otherwise symbols keep their order. Same draft, same bytes.
 * @throws ElfFormatError when the alignments of sections would make most of the file.
 */
export function writeObject(draft: ObjectDraft): Uint8Array {
  const numberOf = new Map(draft.sections.map((section, at) => [section, at + 1]));
  const names = StringTableBuilder.from(draft.nameTable.data);
  const nameOffsets = draft.sections.map((section) => section.nameOffset ?? names.add(section.name));
  const contents = new Map<DraftSection, Uint8Array>();

  const ordered = [...draft.symbols.filter(isLocalSymbol), ...draft.symbols.filter((symbol) => !isLocalSymbol(symbol))];
  const symbolNumber = new Map(ordered.map((symbol, at) => [symbol, at + 1]));
  // clang keeps the names of symbols and of sections in one table.
  const strings = draft.stringTable === draft.nameTable ? names : StringTableBuilder.from(draft.stringTable.data);
  const table = symbolTable(draft, ordered, numberOf, strings);
  contents.set(draft.symbolTable, table.symbols);
  contents.set(draft.stringTable, strings.finish());
  contents.set(draft.nameTable, names.finish());
  for (const section of draft.sections) {
    if (section.type === SectionType.rela) contents.set(section, relocationEntries(draft, section, symbolNumber));
    else if (section.type === SectionType.symtabShndx && section.link === draft.symbolTable)
      contents.set(section, table.indices);
  }
  const contentOf = (section: DraftSection): Uint8Array => contents.get(section) ?? section.data;

  const inFileOrder = draft.sections.map((section, at) => ({ section, at }));
  inFileOrder.sort((a, b) =>
    a.section.origin === b.section.origin ? a.at - b.at : a.section.origin - b.section.origin,
  );
  const offsets = new Map<DraftSection, number>();
  const padding = new Padding();
  let end = EHDR_SIZE;
  for (const { section } of inFileOrder) {
    end += padding.before(end, section.fileAlignment ?? section.alignment);
    offsets.set(section, end);
    if (section.type !== SectionType.nobits) end += contentOf(section).length;
  }
  const headerOffset = alignUp(end, 8);
  const file = new Uint8Array(headerOffset + (draft.sections.length + 1) * SHDR_SIZE);
  const view = new DataView(file.buffer);
  const little = draft.littleEndian;
  writeFileHeader(file, view, draft, headerOffset, numberOf.get(draft.nameTable) as number);
  draft.sections.forEach((section, at) => {
    const content = contentOf(section);
    const offset = offsets.get(section) as number;
    if (section.type !== SectionType.nobits) file.set(content, offset);
    const header = headerOffset + (at + 1) * SHDR_SIZE;
    view.setUint32(header, nameOffsets[at] as number, little);
    view.setUint32(header + 4, section.type, little);
    putI64(view, header + 8, section.flags, little);
    putI64(view, header + 16, section.address, little);
    putI64(view, header + 24, offset, little);
    putI64(view, header + 32, section.type === SectionType.nobits ? section.memorySize : content.length, little);
    view.setUint32(header + 40, section.link === undefined ? 0 : (numberOf.get(section.link) ?? 0), little);
    view.setUint32(header + 44, infoOf(draft, section, numberOf, symbolNumber, ordered), little);
    putI64(view, header + 48, section.alignment, little);
    putI64(view, header + 56, section.entrySize, little);
  });
  return file;
}

function alignUp(offset: number, alignment: number): number {
  return alignment > 1 ? Math.ceil(offset / alignment) * alignment : offset;
}

function isLocalSymbol(symbol: DraftSymbol): boolean {
  return symbol.binding === Binding.local;
}

function writeFileHeader(
  file: Uint8Array,
  view: DataView,
  draft: ObjectDraft,
  headerOffset: number,
  namesIndex: number,
): void {
  const { header, littleEndian: little } = draft;
  const count = draft.sections.length + 1;
  file.set(header.ident, 0);
  view.setUint16(16, header.type, little);
  view.setUint16(18, header.machine, little);
  view.setUint32(20, header.version, little);
  putI64(view, 24, header.entry, little);
  putI64(view, 40, headerOffset, little);
  view.setUint32(48, header.flags, little);
  view.setUint16(52, EHDR_SIZE, little);
  view.setUint16(58, SHDR_SIZE, little);
  view.setUint16(60, count < SHN_LORESERVE ? count : 0, little);
  view.setUint16(62, namesIndex < SHN_LORESERVE ? namesIndex : SHN_XINDEX, little);
  if (count >= SHN_LORESERVE) putI64(view, headerOffset + 32, count, little);
  if (namesIndex >= SHN_LORESERVE) view.setUint32(headerOffset + 40, namesIndex, little);
}

/** sh_info: first global symbol for the symbol table, target section for relocations, signature symbol for groups (gABI figure 4-14). */
function infoOf(
  draft: ObjectDraft,
  section: DraftSection,
  numberOf: ReadonlyMap<DraftSection, number>,
  symbolNumber: ReadonlyMap<DraftSymbol, number>,
  ordered: readonly DraftSymbol[],
): number {
  if (section === draft.symbolTable) return ordered.filter(isLocalSymbol).length + 1;
  if (typeof section.info !== "number") return numberOf.get(section.info) ?? 0;
  if (section.type === SectionType.group) {
    const signature = draft.symbols[section.info - 1];
    return signature === undefined ? section.info : (symbolNumber.get(signature) ?? section.info);
  }
  return section.info;
}

function symbolTable(
  draft: ObjectDraft,
  ordered: readonly DraftSymbol[],
  numberOf: ReadonlyMap<DraftSection, number>,
  strings: StringTableBuilder,
): { symbols: Uint8Array; indices: Uint8Array } {
  const little = draft.littleEndian;
  const symbols = new Uint8Array((ordered.length + 1) * SYM_SIZE);
  const view = new DataView(symbols.buffer);
  const indices = new Uint8Array((ordered.length + 1) * 4);
  const indexView = new DataView(indices.buffer);
  const hasIndexTable = draft.sections.some(
    (section) => section.type === SectionType.symtabShndx && section.link === draft.symbolTable,
  );
  ordered.forEach((symbol, at) => {
    const place = (at + 1) * SYM_SIZE;
    view.setUint32(place, symbol.nameOffset ?? strings.add(symbol.name), little);
    symbols[place + 4] = (symbol.binding << 4) | symbol.type;
    symbols[place + 5] = symbol.other;
    const section = typeof symbol.section === "number" ? symbol.section : numberOf.get(symbol.section);
    if (section === undefined) throw new Error(`symbol ${symbol.name} is in a section that the draft does not hold`);
    if (section < 0) view.setUint16(place + 6, section + 0x10000, little);
    else if (section < SHN_LORESERVE) view.setUint16(place + 6, section, little);
    else {
      if (!hasIndexTable) throw new Error(`symbol ${symbol.name} needs a SHT_SYMTAB_SHNDX section`);
      view.setUint16(place + 6, SHN_XINDEX, little);
      indexView.setUint32((at + 1) * 4, section, little);
    }
    putI64(view, place + 8, symbol.value, little);
    putI64(view, place + 16, symbol.size, little);
  });
  return { symbols, indices };
}

function relocationEntries(
  draft: ObjectDraft,
  section: DraftSection,
  symbolNumber: ReadonlyMap<DraftSymbol, number>,
): Uint8Array {
  const little = draft.littleEndian;
  const data = new Uint8Array(section.relocations.length * RELA_SIZE);
  const view = new DataView(data.buffer);
  section.relocations.forEach((entry, at) => {
    const place = at * RELA_SIZE;
    const symbol = symbolNumber.get(entry.symbol) ?? 0;
    if (symbol === 0 && entry.symbol.name !== "") {
      throw new Error(`relocation in ${section.name} names ${entry.symbol.name}, which the draft does not hold`);
    }
    putI64(view, place, entry.offset, little);
    view.setUint32(place + (little ? 8 : 12), entry.type, little);
    view.setUint32(place + (little ? 12 : 8), symbol, little);
    putI64(view, place + 16, entry.addend, little);
  });
  return data;
}

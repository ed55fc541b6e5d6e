import type { Bytes } from "./bytes.ts";
import { lineOverlapLimit, lineTableLimit } from "./debug-limits.ts";
import { debugContent, lowerBound } from "./debug-section.ts";
import { ElfFormatError } from "./format-error.ts";
import type { Section, SectionIndex } from "./model.ts";
import { type ElfReader, isDefined } from "./reader.ts";
import { StringTable } from "./strings.ts";

/** A place in the source that code was compiled from. */
export interface SourceLine {
  /** Name as the line table has it: mostly the last part of the path, unless folders are asked for. */
  readonly file: string;
  readonly line: number;
}

/** A place in a section of a relocatable object. */
export interface CodePlace {
  readonly section: SectionIndex;
  readonly offset: number;
}

/** Where a relocation in debug information leads. */
interface Pointer {
  readonly section: SectionIndex;
  readonly value: number;
}

/**
 * Finds the source lines of places in a relocatable object, from its DWARF line tables (versions 2 to 5, chapter 6.2). Without line information, and
 * with information that cannot be read, nothing is found.
 * @param withFolders names of files get the folder that the compiler found them in, unless it is the one that it ran in.
 * @returns one entry per place, in order.
 */
export function sourceLines(
  elf: ElfReader,
  places: readonly CodePlace[],
  { withFolders = false } = {},
): (SourceLine | undefined)[] {
  const found: (SourceLine | undefined)[] = places.map(() => undefined);
  if (places.length === 0) return found;
  const wanted = new WantedLines(places, found);
  let size = 0;
  try {
    for (const section of elf.sections) {
      if (section.name !== ".debug_line") continue;
      const bytes = debugContent(elf, section);
      size += bytes.length;
      if (size > lineTableLimit) throw new ElfFormatError("line tables without end", section.offset, size);
      new LineProgramReader(elf, section, bytes, wanted, withFolders).run();
    }
  } catch (error) {
    // The comparison does not depend on it: damaged line information is as good as none.
    if (!(error instanceof ElfFormatError)) throw error;
    return places.map(() => undefined);
  }
  return found;
}

/** The places that lines are asked for, in the order of their addresses. */
class WantedLines {
  readonly #found: (SourceLine | undefined)[];
  readonly #sections = new Map<SectionIndex, { readonly offsets: Float64Array; readonly places: readonly number[] }>();
  /** How many more times a line may be noted. */
  #left: number;

  constructor(places: readonly CodePlace[], found: (SourceLine | undefined)[]) {
    this.#found = found;
    this.#left = lineOverlapLimit * places.length;
    const bySection = new Map<SectionIndex, number[]>();
    places.forEach(({ section }, at) => {
      const list = bySection.get(section);
      if (list === undefined) bySection.set(section, [at]);
      else list.push(at);
    });
    const offsetOf = (at: number): number => (places[at] as CodePlace).offset;
    for (const [section, list] of bySection) {
      list.sort((a, b) => offsetOf(a) - offsetOf(b));
      this.#sections.set(section, { offsets: Float64Array.from(list, offsetOf), places: list });
    }
  }

  /** Notes the line of all places of a section from `start` up to `end`. */
  note(section: SectionIndex, start: number, end: number, source: SourceLine): void {
    const wanted = this.#sections.get(section);
    if (wanted === undefined || !(start < end)) return;
    const { offsets, places } = wanted;
    for (let index = lowerBound(offsets, start); index < places.length && (offsets[index] as number) < end; index++) {
      if (this.#left-- === 0) throw new ElfFormatError("rows of a line table overlap without end", start);
      this.#found[places[index] as number] = source;
    }
  }
}

/** The state machine of DWARF 6.2.2, as far as a place needs it. */
interface Row {
  section: SectionIndex | undefined;
  address: number;
  file: number;
  line: number;
}

interface ProgramHeader {
  readonly addressSize: number;
  readonly minimumLength: number;
  readonly lineBase: number;
  readonly lineRange: number;
  readonly opcodeBase: number;
  /** Operands of each standard opcode, by opcode − 1. */
  readonly operands: readonly number[];
  /** By number; DWARF 5 counts from 0, earlier ones from 1. */
  readonly files: readonly string[];
}

class LineProgramReader {
  readonly #elf: ElfReader;
  readonly #bytes: Bytes;
  readonly #pointers = new Map<number, Pointer>();
  readonly #wanted: WantedLines;
  readonly #withFolders: boolean;
  readonly #texts = new Map<Section, StringTable>();
  #at = 0;
  /** Where the table that is read ends. */
  #end = 0;
  #header: ProgramHeader | undefined;
  #offsetSize = 4;

  constructor(elf: ElfReader, section: Section, bytes: Bytes, wanted: WantedLines, withFolders: boolean) {
    this.#elf = elf;
    this.#withFolders = withFolders;
    this.#wanted = wanted;
    this.#bytes = bytes;
    for (const { offset, symbol: index, addend } of elf.relocationsFor(section.index)) {
      const symbol = elf.symbols[index];
      if (symbol !== undefined && isDefined(symbol))
        this.#pointers.set(offset, { section: symbol.section, value: symbol.value + addend });
    }
  }

  run(): void {
    while (this.#at < this.#bytes.length) {
      let length = this.#u32();
      this.#offsetSize = 4;
      if (length === 0xffffffff) {
        length = this.#bytes.size(this.#at);
        this.#at += 8;
        this.#offsetSize = 8;
      }
      const end = this.#at + length;
      if (length === 0 || end > this.#bytes.length)
        throw new ElfFormatError("line table runs beyond the end", this.#at, length);
      this.#end = end;
      const start = this.#readHeader();
      if (start !== undefined) {
        this.#at = start;
        while (this.#at < end) this.#sequence(end);
      }
      this.#at = end;
    }
  }

  /** Reads a program's header; returns the offset of its first opcode, or undefined for a version that is not known. */
  #readHeader(): number | undefined {
    const version = this.#u16();
    if (version < 2 || version > 5) return undefined;
    const addressSize = version >= 5 ? this.#u8() : 8;
    if (version >= 5) this.#u8();
    const headerLength = this.#offsetWord();
    const start = this.#at + headerLength;
    const minimumLength = this.#u8();
    if (version >= 4) this.#u8();
    this.#u8();
    const lineBase = (this.#u8() << 24) >> 24;
    const lineRange = this.#u8();
    const opcodeBase = this.#u8();
    if (lineRange === 0) throw new ElfFormatError("line table with a line range of zero", this.#at);
    const operands = Array.from({ length: Math.max(0, opcodeBase - 1) }, () => this.#u8());
    const files = version >= 5 ? this.#filesOfVersion5() : this.#filesOfVersion2();
    this.#header = { addressSize, minimumLength, lineBase, lineRange, opcodeBase, operands, files };
    return start;
  }

  #filesOfVersion2(): string[] {
    const folders = [""];
    for (let name = this.#text(); name !== ""; name = this.#text()) folders.push(name);
    const files = [""];
    for (let name = this.#text(); name !== ""; name = this.#text()) {
      files.push(this.#inFolder(name, this.#uleb(), folders));
      for (let field = 1; field < 3; field++) this.#uleb();
    }
    return files;
  }

  /** Directories, then files, each with a description of their fields (DWARF 5, 6.2.4.1). */
  #filesOfVersion5(): string[] {
    let names: string[] = [];
    for (let table = 0; table < 2; table++) {
      const folders = names;
      const formats = Array.from({ length: this.#u8() }, () => ({ content: this.#uleb(), form: this.#uleb() }));
      const count = this.#uleb();
      // Each field of an entry takes a byte at least.
      if (!(count * Math.max(1, formats.length) <= this.#end - this.#at) || (formats.length === 0 && count > 0))
        throw new ElfFormatError("absurd number of files", this.#at, count);
      names = [];
      for (let entry = 0; entry < count; entry++) {
        let [name, folder] = ["", 0];
        for (const { content, form } of formats) {
          const value = this.#form(form);
          // DW_LNCT_path and DW_LNCT_directory_index
          if (content === 1) name = String(value);
          else if (content === 2) folder = Number(value);
        }
        names.push(this.#inFolder(name, table === 0 ? 0 : folder, folders));
      }
    }
    return names;
  }

  /** Folder 0 is the one that the compiler ran in. */
  #inFolder(name: string, folder: number, folders: readonly string[]): string {
    const parent = folders[folder];
    return !this.#withFolders || folder === 0 || parent === undefined || name.startsWith("/")
      ? name
      : `${parent}/${name}`;
  }

  /** Reads one field: a text, or a number of up to two bytes or of any length; others are of no interest. */
  #form(form: number): string | number {
    switch (form) {
      case 0x08: // DW_FORM_string
        return this.#text();
      case 0x0e: // DW_FORM_strp
      case 0x1f: // DW_FORM_line_strp
        return this.#pointedText(form === 0x0e ? ".debug_str" : ".debug_line_str");
      case 0x0b: // DW_FORM_data1
        return this.#u8();
      case 0x05: // DW_FORM_data2
        return this.#u16();
      case 0x06: // DW_FORM_data4
        this.#at += 4;
        return "";
      case 0x07: // DW_FORM_data8
        this.#at += 8;
        return "";
      case 0x1e: // DW_FORM_data16, an MD5
        this.#at += 16;
        return "";
      case 0x0f: // DW_FORM_udata
        return this.#uleb();
      default:
        throw new ElfFormatError("unknown form in a line table", this.#at, form);
    }
  }

  #pointedText(name: string): string {
    const pointer = this.#pointers.get(this.#at);
    const own = this.#offsetWord();
    const section = pointer === undefined ? this.#elf.section(name) : this.#elf.sections[pointer.section];
    if (section === undefined) return "";
    let texts = this.#texts.get(section);
    if (texts === undefined) {
      texts = new StringTable(debugContent(this.#elf, section).data, section.offset);
      this.#texts.set(section, texts);
    }
    const start = pointer?.value ?? own;
    if (start < 0) throw new ElfFormatError("text of a line table before its section", section.offset, start);
    return texts.at(start);
  }

  /** Runs one sequence and notes the last row that is not behind each place that is asked for. */
  #sequence(end: number): void {
    const header = this.#header as ProgramHeader;
    const row: Row = { section: undefined, address: 0, file: 1, line: 1 };
    let before = { ...row };
    const emit = (): void => {
      this.#note(before, row);
      before = { ...row };
    };
    while (this.#at < end) {
      const opcode = this.#u8();
      if (opcode >= header.opcodeBase) {
        const adjusted = opcode - header.opcodeBase;
        row.address += Math.floor(adjusted / header.lineRange) * header.minimumLength;
        row.line += header.lineBase + (adjusted % header.lineRange);
        emit();
      } else if (opcode === 0) {
        if (this.#extended(row, header)) {
          this.#note(before, row);
          return;
        }
      } else if (opcode === 1) emit();
      else this.#standard(opcode, row, header);
    }
  }

  #standard(opcode: number, row: Row, header: ProgramHeader): void {
    switch (opcode) {
      case 2: // DW_LNS_advance_pc
        row.address += this.#uleb() * header.minimumLength;
        return;
      case 3: // DW_LNS_advance_line
        row.line += this.#sleb();
        return;
      case 4: // DW_LNS_set_file
        row.file = this.#uleb();
        return;
      case 8: // DW_LNS_const_add_pc
        row.address += Math.floor((255 - header.opcodeBase) / header.lineRange) * header.minimumLength;
        return;
      case 9: // DW_LNS_fixed_advance_pc
        row.address += this.#u16();
        return;
      default:
        for (let count = header.operands[opcode - 1] ?? 0; count > 0; count--) this.#uleb();
    }
  }

  /** Returns true at the end of the sequence. */
  #extended(row: Row, header: ProgramHeader): boolean {
    const length = this.#uleb();
    const start = this.#at;
    const opcode = length === 0 ? 0 : this.#u8();
    if (opcode === 2) {
      // DW_LNE_set_address: only its relocation tells where the code is.
      const pointer = this.#pointers.get(this.#at);
      row.section = pointer?.section;
      row.address = pointer?.value ?? 0;
    }
    this.#at = start + Math.max(length, opcode === 2 ? 1 + header.addressSize : 0);
    return opcode === 1;
  }

  #note(before: Row, row: Row): void {
    if (before.section === undefined || before.line === 0) return;
    const file = (this.#header as ProgramHeader).files[before.file];
    if (file !== undefined) this.#wanted.note(before.section, before.address, row.address, { file, line: before.line });
  }

  #u8(): number {
    return this.#bytes.u8(this.#at++);
  }

  #u16(): number {
    this.#at += 2;
    return this.#bytes.u16(this.#at - 2);
  }

  #u32(): number {
    this.#at += 4;
    return this.#bytes.u32(this.#at - 4);
  }

  #offsetWord(): number {
    if (this.#offsetSize === 4) return this.#u32();
    this.#at += 8;
    return this.#bytes.size(this.#at - 8);
  }

  #text(): string {
    const rest = this.#bytes.data.subarray(this.#at, this.#end);
    const length = rest.indexOf(0);
    if (length < 0) throw new ElfFormatError("text of a line table without an end", this.#at);
    this.#at += length + 1;
    return Buffer.from(rest.subarray(0, length)).toString("latin1");
  }

  #uleb(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  #sleb(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return byte >= 0x40 ? value - scale * 128 : value;
    }
  }
}

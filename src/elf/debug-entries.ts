import type { Bytes } from "./bytes.ts";
import { type Abbreviation, readAbbreviations, readLeb } from "./debug-abbreviations.ts";
import { abbreviationLimit, entryLimit } from "./debug-limits.ts";
import { debugContent, RelocatedNumbers } from "./debug-section.ts";
import { ElfFormatError } from "./format-error.ts";
import type { SectionIndex } from "./model.ts";
import type { ElfReader } from "./reader.ts";
import { StringTable } from "./strings.ts";

/** Tags of DWARF 5, 7.5.3, as far as they matter here. */
export const DebugTag = {
  array: 0x01,
  enumeration: 0x04,
  formalParameter: 0x05,
  member: 0x0d,
  pointer: 0x0f,
  structure: 0x13,
  subroutineType: 0x15,
  typedef: 0x16,
  union: 0x17,
  unspecifiedParameters: 0x18,
  inlinedSubroutine: 0x1d,
  subrange: 0x21,
  base: 0x24,
  const: 0x26,
  enumerator: 0x28,
  subprogram: 0x2e,
  variable: 0x34,
  volatile: 0x35,
  restrict: 0x37,
  atomic: 0x47,
} as const;

/** One debugging information entry. */
export interface DebugEntry {
  /** Offset in `.debug_info`. */
  readonly offset: number;
  readonly tag: number;
  readonly parent: DebugEntry | undefined;
  readonly children: DebugEntry[];
  name: string;
  /** Offsets of entries. */
  type: number | undefined;
  /** DW_AT_abstract_origin or DW_AT_specification. */
  origin: number | undefined;
  size: number | undefined;
  /** DW_AT_upper_bound or DW_AT_count − 1; undefined when it is not a constant. */
  upperBound: number | undefined;
  encoding: number | undefined;
  /** True when the location is an address, so that the thing keeps its place; false on the stack and in registers. */
  isStatic: boolean;
  /** Offset in `.debug_info` of that address, which a relocation fills; undefined when it stands in `.debug_addr`. */
  addressAt: number | undefined;
  isDeclaration: boolean;
  /** Line of the declaration. */
  line: number | undefined;
}

/** Attributes of DWARF 5, 7.5.4. */
const At = {
  location: 0x02,
  name: 0x03,
  byteSize: 0x0b,
  upperBound: 0x2f,
  abstractOrigin: 0x31,
  count: 0x37,
  declarationLine: 0x3b,
  declaration: 0x3c,
  encoding: 0x3e,
  specification: 0x47,
  type: 0x49,
  stringOffsetsBase: 0x72,
} as const;

/** DW_OP_addr, and DW_OP_addrx with its number in `.debug_addr`. */
const addressOperation = 0x03;
const tableOperation = 0xa1;
const inAddressTable = -1;

/**
 * All entries of the debug information of a relocatable object, versions 2 to 5 of DWARF (chapter 7.5).
 * @returns by offset; empty without debug information.
 * @throws ElfFormatError for damaged information, and for forms that compilers of kernels do not use.
 */
export function readDebugEntries(elf: ElfReader, limit = entryLimit): Map<number, DebugEntry> {
  const entries = new Map<number, DebugEntry>();
  for (const section of elf.sections) {
    if (section.name === ".debug_info")
      new EntryReader(elf, section.index, debugContent(elf, section), entries, limit).run();
  }
  return entries;
}

class EntryReader {
  readonly #elf: ElfReader;
  readonly #bytes: Bytes;
  readonly #limit: number;
  readonly #entries: Map<number, DebugEntry>;
  readonly #numbers: RelocatedNumbers;
  readonly #texts = new Map<string, StringTable>();
  readonly #tables = new Map<number, ReadonlyMap<number, Abbreviation>>();
  #at = 0;
  #unit = 0;
  #version = 0;
  #addressSize = 8;
  #stringOffsets = 8;
  #names: RelocatedNumbers | undefined;
  #abbreviationBytes = 0;

  constructor(elf: ElfReader, index: SectionIndex, bytes: Bytes, entries: Map<number, DebugEntry>, limit: number) {
    this.#elf = elf;
    this.#limit = limit;
    this.#bytes = bytes;
    this.#entries = entries;
    this.#numbers = new RelocatedNumbers(elf, index, bytes);
  }

  run(): void {
    while (this.#at < this.#bytes.length) {
      this.#unit = this.#at;
      const end = this.#at + 4 + this.#bytes.u32(this.#at);
      if (end > this.#bytes.length)
        throw new ElfFormatError("a unit of debug information runs beyond the end", this.#at);
      this.#version = this.#bytes.u16(this.#at + 4);
      this.#at += 6;
      const isNew = this.#version >= 5;
      if (this.#version > 5 || (isNew && this.#bytes.u8(this.#at) !== 1))
        throw new ElfFormatError("unknown kind of debug information", this.#at, this.#version);
      const abbreviations = this.#abbreviations(this.#numbers.at(this.#at + (isNew ? 2 : 0)));
      this.#addressSize = this.#bytes.u8(this.#at + (isNew ? 1 : 4));
      this.#at += isNew ? 6 : 5;
      this.#readUnit(abbreviations, end);
      this.#at = end;
    }
  }

  #readUnit(abbreviations: ReadonlyMap<number, Abbreviation>, end: number): void {
    let parent: DebugEntry | undefined;
    while (this.#at < end) {
      const offset = this.#at;
      const code = this.#uleb();
      if (code === 0) {
        parent = parent?.parent;
        continue;
      }
      const abbreviation = abbreviations.get(code);
      if (abbreviation === undefined) throw new ElfFormatError("unknown abbreviation", offset, code);
      const entry = this.#readEntry(offset, abbreviation, parent);
      parent?.children.push(entry);
      this.#entries.set(offset, entry);
      if (this.#entries.size > this.#limit)
        throw new ElfFormatError("more debug information than any unit has", offset, this.#entries.size);
      if (abbreviation.hasChildren) parent = entry;
    }
  }

  #readEntry(offset: number, { tag, fields }: Abbreviation, parent: DebugEntry | undefined): DebugEntry {
    // One literal: put together from others, each would take a kilobyte and fifty times as long.
    const entry: DebugEntry = {
      offset,
      tag,
      parent,
      children: [],
      name: "",
      type: undefined,
      origin: undefined,
      size: undefined,
      upperBound: undefined,
      encoding: undefined,
      isStatic: false,
      isDeclaration: false,
      addressAt: undefined,
      line: undefined,
    };
    for (let at = 0; at < fields.length; at += 3) {
      const [attribute, form, implicit] = [fields[at], fields[at + 1], fields[at + 2]] as [number, number, number];
      switch (attribute) {
        case At.name:
          entry.name = this.#text(form);
          break;
        case At.type:
          entry.type = this.#value(form, implicit);
          break;
        case At.abstractOrigin:
        case At.specification:
          entry.origin = this.#value(form, implicit);
          break;
        case At.byteSize:
          entry.size = this.#value(form, implicit);
          break;
        case At.upperBound:
          entry.upperBound = this.#value(form, implicit);
          break;
        case At.count: {
          const count = this.#value(form, implicit);
          entry.upperBound = count === undefined ? undefined : count - 1;
          break;
        }
        case At.encoding:
          entry.encoding = this.#value(form, implicit);
          break;
        case At.declaration:
          entry.isDeclaration = this.#value(form, implicit) !== 0;
          break;
        case At.location:
          entry.addressAt = this.#addressAt(form);
          entry.isStatic = entry.addressAt !== undefined;
          if (entry.addressAt === inAddressTable) entry.addressAt = undefined;
          break;
        case At.declarationLine:
          entry.line = this.#value(form, implicit);
          break;
        case At.stringOffsetsBase:
          this.#stringOffsets = this.#numbers.at(this.#at);
          this.#at += 4;
          break;
        default:
          this.#value(form, implicit);
      }
    }
    return entry;
  }

  /** Where the address stands that a location is; {@link inAddressTable}; or undefined for any other location. */
  #addressAt(form: number): number | undefined {
    const start = this.#at;
    this.#value(form, 0);
    // DW_FORM_exprloc, and the blocks of DWARF 2 and 3.
    if (form !== 0x18 && form !== 0x0a) return undefined;
    const end = this.#at;
    this.#at = start;
    const length = form === 0x18 ? this.#uleb() : this.#bytes.u8(this.#at++);
    const operation = this.#at;
    const first = length > 0 ? this.#bytes.u8(operation) : 0;
    this.#at = end;
    return first === addressOperation ? operation + 1 : first === tableOperation ? inAddressTable : undefined;
  }

  /** A number, or the offset of an entry; undefined for other things, which are passed over. */
  #value(form: number, implicit: number): number | undefined {
    const bytes = this.#bytes;
    const skip = (size: number): undefined => {
      this.#at += size;
      return undefined;
    };
    const read = (size: number, value: number): number => {
      this.#at += size;
      return value;
    };
    switch (form) {
      case 0x0b: // data1
      case 0x0c: // flag
        return read(1, bytes.u8(this.#at));
      case 0x05: // data2
        return read(2, bytes.u16(this.#at));
      case 0x06: // data4
        return read(4, bytes.u32(this.#at));
      case 0x07: // data8
        return read(8, bytes.i64(this.#at));
      case 0x0d: // sdata
        return this.#sleb();
      case 0x0f: // udata
        return this.#uleb();
      case 0x19: // flag_present
        return 1;
      case 0x21: // implicit_const
        return implicit;
      case 0x10: // ref_addr
        return read(this.#version <= 2 ? this.#addressSize : 4, this.#numbers.at(this.#at));
      case 0x11: // ref1
        return read(1, this.#unit + bytes.u8(this.#at));
      case 0x12: // ref2
        return read(2, this.#unit + bytes.u16(this.#at));
      case 0x13: // ref4
        return read(4, this.#unit + bytes.u32(this.#at));
      case 0x15: // ref_udata
        return this.#unit + this.#uleb();
      case 0x01: // addr
        return skip(this.#addressSize);
      case 0x0e: // strp
      case 0x17: // sec_offset
      case 0x1f: // line_strp
      case 0x28: // strx4
      case 0x2c: // addrx4
        return skip(4);
      case 0x25: // strx1
      case 0x29: // addrx1
        return skip(1);
      case 0x26: // strx2
      case 0x2a: // addrx2
        return skip(2);
      case 0x1e: // data16
        return skip(16);
      case 0x1a: // strx
      case 0x1b: // addrx
      case 0x22: // loclistx
      case 0x23: // rnglistx
        this.#uleb();
        return undefined;
      case 0x08: // string
        this.#text(form);
        return undefined;
      case 0x0a: // block1
        return skip(1 + bytes.u8(this.#at));
      case 0x03: // block2
        return skip(2 + bytes.u16(this.#at));
      case 0x04: // block4
        return skip(4 + bytes.u32(this.#at));
      case 0x09: // block
      case 0x18: {
        // exprloc
        const length = this.#uleb();
        return skip(length);
      }
      default:
        throw new ElfFormatError("unknown form in debug information", this.#at, form);
    }
  }

  #text(form: number): string {
    switch (form) {
      case 0x08: {
        const { data } = this.#bytes;
        const end = data.indexOf(0, this.#at);
        if (end < 0) throw new ElfFormatError("a name without an end", this.#at);
        const text = Buffer.from(data.subarray(this.#at, end)).toString("latin1");
        this.#at = end + 1;
        return text;
      }
      case 0x0e:
      case 0x1f: {
        const offset = this.#numbers.at(this.#at);
        this.#at += 4;
        return this.#textAt(form === 0x0e ? ".debug_str" : ".debug_line_str", offset);
      }
      default: {
        const index = this.#stringIndex(form);
        return this.#textAt(".debug_str", this.#offsets().at(this.#stringOffsets + 4 * index));
      }
    }
  }

  /** The table of names that DW_FORM_strx counts in. */
  #offsets(): RelocatedNumbers {
    const section = this.#elf.section(".debug_str_offsets");
    if (section === undefined) throw new ElfFormatError("there is no .debug_str_offsets", this.#at);
    this.#names ??= new RelocatedNumbers(this.#elf, section.index, debugContent(this.#elf, section));
    return this.#names;
  }

  #stringIndex(form: number): number {
    if (form === 0x1a) return this.#uleb();
    const size = { 37: 1, 38: 2, 40: 4 }[form];
    if (size === undefined) throw new ElfFormatError("unknown form of a name", this.#at, form);
    const index =
      size === 1 ? this.#bytes.u8(this.#at) : size === 2 ? this.#bytes.u16(this.#at) : this.#bytes.u32(this.#at);
    this.#at += size;
    return index;
  }

  #textAt(name: string, offset: number): string {
    let texts = this.#texts.get(name);
    if (texts === undefined) {
      const section = this.#elf.section(name);
      if (section === undefined) throw new ElfFormatError(`there is no ${name}`, this.#at);
      texts = new StringTable(debugContent(this.#elf, section).data, section.offset);
      this.#texts.set(name, texts);
    }
    return texts.at(offset);
  }

  #abbreviations(start: number): ReadonlyMap<number, Abbreviation> {
    let table = this.#tables.get(start);
    if (table === undefined) {
      const section = this.#elf.section(".debug_abbrev");
      if (section === undefined) throw new ElfFormatError("there is no .debug_abbrev", start);
      const content = debugContent(this.#elf, section);
      const read = readAbbreviations(content, start);
      table = read.table;
      this.#abbreviationBytes += read.end - start;
      if (this.#abbreviationBytes > abbreviationLimit * content.length)
        throw new ElfFormatError("tables of abbreviations overlap without end", section.offset, start);
      this.#tables.set(start, table);
    }
    return table;
  }

  #uleb(): number {
    const { value, end } = readLeb(this.#bytes, this.#at, false);
    this.#at = end;
    return value;
  }

  #sleb(): number {
    const { value, end } = readLeb(this.#bytes, this.#at, true);
    this.#at = end;
    return value;
  }
}

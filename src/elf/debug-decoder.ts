import type { Bytes } from "./bytes.ts";
import { type Abbreviation, readAbbreviations, readLeb } from "./debug-abbreviations.ts";
import type { DebugEntry } from "./debug-entry.ts";
import { abbreviationLimit } from "./debug-limits.ts";
import { debugContent, RelocatedNumbers } from "./debug-section.ts";
import { ElfFormatError } from "./format-error.ts";
import type { SectionIndex } from "./model.ts";
import type { ElfReader } from "./reader.ts";
import { StringTable } from "./strings.ts";

/** Attributes of DWARF 5, 7.5.4. */
const At = {
  sibling: 0x01,
  location: 0x02,
  name: 0x03,
  byteSize: 0x0b,
  bitOffset: 0x0c,
  upperBound: 0x2f,
  abstractOrigin: 0x31,
  count: 0x37,
  memberLocation: 0x38,
  declarationLine: 0x3b,
  declaration: 0x3c,
  encoding: 0x3e,
  specification: 0x47,
  type: 0x49,
  dataBitOffset: 0x6b,
  stringOffsetsBase: 0x72,
} as const;

/** DW_OP_addr, and DW_OP_addrx with its number in `.debug_addr`. */
const addressOperation = 0x03;
const tableOperation = 0xa1;
const inAddressTable = -1;

const nowhere: DebugUnit = {
  start: 0,
  first: 0,
  end: 0,
  version: 0,
  addressSize: 8,
  abbreviations: new Map(),
  stringOffsets: 8,
};

const stringForm = 0x08;
const referenceForm = 0x13;

/** Bytes of each form that has always as many in DWARF of 32 bits (DWARF 5, 7.5.6); undefined for others. */
const fixedSizes: readonly (number | undefined)[] = (() => {
  const sizes: (number | undefined)[] = Array.from({ length: 0x2d }, () => undefined);
  for (const form of [0x0b, 0x0c, 0x11, 0x25, 0x29]) sizes[form] = 1;
  for (const form of [0x05, 0x12, 0x26, 0x2a]) sizes[form] = 2;
  for (const form of [0x06, 0x0e, 0x13, 0x17, 0x1f, 0x28, 0x2c]) sizes[form] = 4;
  sizes[0x07] = 8;
  sizes[0x1e] = 16;
  for (const form of [0x19, 0x21]) sizes[form] = 0;
  return sizes;
})();

/** The header of one unit of `.debug_info` (DWARF 5, 7.5.1). */
export interface DebugUnit {
  readonly start: number;
  /** Offset of its first entry. */
  readonly first: number;
  readonly end: number;
  readonly version: number;
  readonly addressSize: number;
  readonly abbreviations: ReadonlyMap<number, Abbreviation>;
  /** DW_AT_str_offsets_base, once the first entry is read. */
  stringOffsets: number;
}

/** Reads units and entries of a `.debug_info` section, wherever it is told to. All its functions throw ElfFormatError for damage. */
export class EntryDecoder {
  readonly bytes: Bytes;
  readonly numbers: RelocatedNumbers;
  readonly #elf: ElfReader;
  readonly #texts = new Map<string, StringTable>();
  readonly #tables = new Map<number, ReadonlyMap<number, Abbreviation>>();
  /** Offset that is read next. */
  at = 0;
  #unit: DebugUnit = nowhere;
  #names: RelocatedNumbers | undefined;
  #abbreviationBytes = 0;

  constructor(elf: ElfReader, index: SectionIndex, bytes: Bytes) {
    this.#elf = elf;
    this.bytes = bytes;
    this.numbers = new RelocatedNumbers(elf, index, bytes);
  }

  /** The units of the section, in order. */
  *units(): Generator<DebugUnit> {
    for (let start = 0, end = 0; start < this.bytes.length; start = end) {
      end = start + 4 + this.bytes.u32(start);
      if (end > this.bytes.length) throw new ElfFormatError("a unit of debug information runs beyond the end", start);
      const version = this.bytes.u16(start + 4);
      const at = start + 6;
      const isNew = version >= 5;
      if (version > 5 || (isNew && this.bytes.u8(at) !== 1))
        throw new ElfFormatError("unknown kind of debug information", at, version);
      const abbreviations = this.#abbreviations(this.numbers.at(at + (isNew ? 2 : 0)));
      const addressSize = this.bytes.u8(at + (isNew ? 1 : 4));
      yield { start, first: at + (isNew ? 6 : 5), end, version, addressSize, abbreviations, stringOffsets: 8 };
    }
  }

  /** Reads an abbreviation code; 0 ends a list of children. */
  code(): number {
    return this.#uleb();
  }

  /** Reads the attributes of an entry. @param offset where its abbreviation code stands. */
  entry(unit: DebugUnit, offset: number, abbreviation: Abbreviation, parent: DebugEntry | undefined): DebugEntry {
    this.#unit = unit;
    return this.#readEntry(offset, abbreviation, parent);
  }

  /** The entry at an offset that another one names; undefined where there is none. Its children are not read. */
  entryAt(unit: DebugUnit, offset: number): DebugEntry | undefined {
    if (!(offset >= unit.first && offset < unit.end)) return undefined;
    this.at = offset;
    const abbreviation = unit.abbreviations.get(this.code());
    return abbreviation === undefined ? undefined : this.entry(unit, offset, abbreviation, undefined);
  }

  /** Passes over the attributes of an entry. @returns where the entry behind its children is, if it tells (DW_AT_sibling). */
  skip(unit: DebugUnit, { fields }: Abbreviation): number | undefined {
    this.#unit = unit;
    let sibling: number | undefined;
    for (let at = 0; at < fields.length; at += 3) {
      const form = fields[at + 1] as number;
      const size = fixedSizes[form];
      if (fields[at] === At.sibling && form === referenceForm) sibling = unit.start + this.bytes.u32(this.at);
      if (size !== undefined) this.at += size;
      else if (form === stringForm) {
        const end = this.bytes.data.indexOf(0, this.at);
        if (end < 0) throw new ElfFormatError("a name without an end", this.at);
        this.at = end + 1;
      } else this.#value(form, 0);
    }
    return sibling;
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
      memberOffset: undefined,
      bitOffset: undefined,
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
        case At.memberLocation:
          entry.memberOffset = this.#value(form, implicit);
          break;
        case At.bitOffset:
        case At.dataBitOffset:
          entry.bitOffset = this.#value(form, implicit);
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
          this.#unit.stringOffsets = this.numbers.at(this.at);
          this.at += 4;
          break;
        default:
          this.#value(form, implicit);
      }
    }
    return entry;
  }

  /** Where the address stands that a location is; {@link inAddressTable}; or undefined for any other location. */
  #addressAt(form: number): number | undefined {
    const start = this.at;
    this.#value(form, 0);
    // DW_FORM_exprloc, and the blocks of DWARF 2 and 3.
    if (form !== 0x18 && form !== 0x0a) return undefined;
    const end = this.at;
    this.at = start;
    const length = form === 0x18 ? this.#uleb() : this.bytes.u8(this.at++);
    const operation = this.at;
    const first = length > 0 ? this.bytes.u8(operation) : 0;
    this.at = end;
    return first === addressOperation ? operation + 1 : first === tableOperation ? inAddressTable : undefined;
  }

  /** A number, or the offset of an entry; undefined for other things, which are passed over. */
  #value(form: number, implicit: number): number | undefined {
    const bytes = this.bytes;
    const skip = (size: number): undefined => {
      this.at += size;
      return undefined;
    };
    const read = (size: number, value: number): number => {
      this.at += size;
      return value;
    };
    switch (form) {
      case 0x0b: // data1
      case 0x0c: // flag
        return read(1, bytes.u8(this.at));
      case 0x05: // data2
        return read(2, bytes.u16(this.at));
      case 0x06: // data4
        return read(4, bytes.u32(this.at));
      case 0x07: // data8
        return read(8, bytes.i64(this.at));
      case 0x0d: // sdata
        return this.#sleb();
      case 0x0f: // udata
        return this.#uleb();
      case 0x19: // flag_present
        return 1;
      case 0x21: // implicit_const
        return implicit;
      case 0x10: // ref_addr
        return read(this.#unit.version <= 2 ? this.#unit.addressSize : 4, this.numbers.at(this.at));
      case 0x11: // ref1
        return read(1, this.#unit.start + bytes.u8(this.at));
      case 0x12: // ref2
        return read(2, this.#unit.start + bytes.u16(this.at));
      case 0x13: // ref4
        return read(4, this.#unit.start + bytes.u32(this.at));
      case 0x15: // ref_udata
        return this.#unit.start + this.#uleb();
      case 0x01: // addr
        return skip(this.#unit.addressSize);
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
        return skip(1 + bytes.u8(this.at));
      case 0x03: // block2
        return skip(2 + bytes.u16(this.at));
      case 0x04: // block4
        return skip(4 + bytes.u32(this.at));
      case 0x09: // block
      case 0x18: {
        // exprloc
        const length = this.#uleb();
        return skip(length);
      }
      default:
        throw new ElfFormatError("unknown form in debug information", this.at, form);
    }
  }

  #text(form: number): string {
    switch (form) {
      case 0x08: {
        const { data } = this.bytes;
        const end = data.indexOf(0, this.at);
        if (end < 0) throw new ElfFormatError("a name without an end", this.at);
        const text = Buffer.from(data.subarray(this.at, end)).toString("latin1");
        this.at = end + 1;
        return text;
      }
      case 0x0e:
      case 0x1f: {
        const offset = this.numbers.at(this.at);
        this.at += 4;
        return this.#textAt(form === 0x0e ? ".debug_str" : ".debug_line_str", offset);
      }
      default: {
        const index = this.#stringIndex(form);
        return this.#textAt(".debug_str", this.#offsets().at(this.#unit.stringOffsets + 4 * index));
      }
    }
  }

  /** The table of names that DW_FORM_strx counts in. */
  #offsets(): RelocatedNumbers {
    const section = this.#elf.section(".debug_str_offsets");
    if (section === undefined) throw new ElfFormatError("there is no .debug_str_offsets", this.at);
    this.#names ??= new RelocatedNumbers(this.#elf, section.index, debugContent(this.#elf, section));
    return this.#names;
  }

  #stringIndex(form: number): number {
    if (form === 0x1a) return this.#uleb();
    const size = { 37: 1, 38: 2, 40: 4 }[form];
    if (size === undefined) throw new ElfFormatError("unknown form of a name", this.at, form);
    const index = size === 1 ? this.bytes.u8(this.at) : size === 2 ? this.bytes.u16(this.at) : this.bytes.u32(this.at);
    this.at += size;
    return index;
  }

  #textAt(name: string, offset: number): string {
    let texts = this.#texts.get(name);
    if (texts === undefined) {
      const section = this.#elf.section(name);
      if (section === undefined) throw new ElfFormatError(`there is no ${name}`, this.at);
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
    const { value, end } = readLeb(this.bytes, this.at, false);
    this.at = end;
    return value;
  }

  #sleb(): number {
    const { value, end } = readLeb(this.bytes, this.at, true);
    this.at = end;
    return value;
  }
}

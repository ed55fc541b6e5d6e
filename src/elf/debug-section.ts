import { inflateSync } from "node:zlib";
import { Bytes } from "./bytes.ts";
import { ElfFormatError } from "./format-error.ts";
import type { ElfSymbol, Section, SectionIndex } from "./model.ts";
import type { ElfReader } from "./reader.ts";
import { RelaEntries } from "./rela-entries.ts";

/** SHF_COMPRESSED of gABI chapter 4; ch_type 1 is zlib. */
const compressedFlag = 0x800;
const compressionHeaderSize = 24;
/** No unit of a kernel has more; a claim beyond it is damage. */
const largestSection = 1 << 28;

/** Content of a section of debug information, unpacked. @throws ElfFormatError. */
export function debugContent(elf: ElfReader, section: Section): Bytes {
  if ((section.flags & compressedFlag) === 0) return new Bytes(section.data, elf.littleEndian, section.offset);
  const header = new Bytes(section.data, elf.littleEndian, section.offset);
  const size = header.size(8);
  if (header.u32(0) !== 1 || size > largestSection)
    throw new ElfFormatError("compressed in an unknown way", section.offset, size);
  try {
    const data = inflateSync(section.data.subarray(compressionHeaderSize), { maxOutputLength: Math.max(1, size) });
    return new Bytes(data, elf.littleEndian, section.offset);
  } catch (error) {
    throw new ElfFormatError("damaged compressed section", section.offset, String(error));
  }
}

/** 32-bit numbers of a section of a relocatable object, with what relocations put into their places. */
export class RelocatedNumbers {
  readonly #elf: ElfReader;
  readonly #bytes: Bytes;
  readonly #tables: readonly RelaEntries[];
  /** Sorted. */
  readonly #places: Float64Array;
  /** By place, the number of its entry, counted through all tables; undefined where they are the same. */
  readonly #order: Uint32Array | undefined;
  /** Where the last place was found: places are mostly asked for in ascending order. */
  #next = 0;

  constructor(elf: ElfReader, index: SectionIndex, bytes: Bytes) {
    this.#elf = elf;
    this.#bytes = bytes;
    this.#tables = elf.relocationSections(index).map(({ data }) => new RelaEntries(data, elf.littleEndian));
    const count = this.#tables.reduce((sum, table) => sum + table.count, 0);
    const places = new Float64Array(count);
    let isSorted = true;
    let at = 0;
    for (const table of this.#tables) {
      for (let number = 0; number < table.count; number++, at++) {
        const place = table.offset(number);
        if (at > 0 && place < (places[at - 1] as number)) isSorted = false;
        places[at] = place;
      }
    }
    this.#order = isSorted ? undefined : Uint32Array.from(places, (_, each) => each);
    this.#order?.sort((a, b) => (places[a] as number) - (places[b] as number) || a - b);
    this.#places =
      this.#order === undefined ? places : Float64Array.from(this.#order, (each) => places[each] as number);
  }

  /** The number at an offset in the section. @throws ElfFormatError beyond the end. */
  at(offset: number): number {
    const found = this.symbolAt(offset);
    return found === undefined ? this.#bytes.u32(offset) : found.symbol.value + found.addend;
  }

  /** What a relocation puts at an offset in the section; undefined where there is none. @throws ElfFormatError. */
  symbolAt(offset: number): { readonly symbol: ElfSymbol; readonly addend: number } | undefined {
    const places = this.#places;
    if (this.#next >= places.length || (places[this.#next] as number) > offset) this.#next = lowerBound(places, offset);
    while ((places[this.#next] as number) < offset) this.#next++;
    if (places[this.#next] !== offset) return undefined;
    let number = this.#order?.[this.#next] ?? this.#next;
    for (const table of this.#tables) {
      if (number >= table.count) {
        number -= table.count;
        continue;
      }
      const symbol = this.#elf.symbols[table.symbol(number)];
      if (symbol === undefined)
        throw new ElfFormatError("a relocation names a symbol that does not exist", offset, table.symbol(number));
      return { symbol, addend: table.addend(number) };
    }
    return undefined;
  }
}

/** Index of the first number that is not below `wanted`; the length when there is none. */
export function lowerBound(sorted: ArrayLike<number>, wanted: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

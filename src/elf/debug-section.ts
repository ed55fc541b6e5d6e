import { inflateSync } from "node:zlib";
import { Bytes } from "./bytes.ts";
import { ElfFormatError } from "./format-error.ts";
import type { Section, SectionIndex } from "./model.ts";
import type { ElfReader } from "./reader.ts";

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
  readonly #bytes: Bytes;
  /** Sorted. */
  readonly #places: Float64Array;
  readonly #values: Float64Array;
  /** Where the last place was found: places are mostly asked for in ascending order. */
  #next = 0;

  constructor(elf: ElfReader, index: SectionIndex, bytes: Bytes) {
    this.#bytes = bytes;
    const relocations = [...elf.relocationsFor(index)].sort((a, b) => a.offset - b.offset);
    this.#places = Float64Array.from(relocations, ({ offset }) => offset);
    this.#values = Float64Array.from(relocations, ({ symbol, addend }) => (elf.symbols[symbol]?.value ?? 0) + addend);
  }

  /** The number at an offset in the section. @throws ElfFormatError beyond the end. */
  at(offset: number): number {
    const places = this.#places;
    if (this.#next >= places.length || (places[this.#next] as number) > offset) this.#next = lowerBound(places, offset);
    while ((places[this.#next] as number) < offset) this.#next++;
    return places[this.#next] === offset ? (this.#values[this.#next] as number) : this.#bytes.u32(offset);
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

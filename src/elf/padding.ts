import { ElfFormatError } from "./format-error.ts";

/**
 * 64 MiB. An object of a kernel has a few sections that begin at a page, and at most some at a huge page of 2 MiB; many with alignments as large as the
 * format allows would make gigabytes of nothing out of a small file.
 */
const paddingLimit = 1 << 26;

/** Counts the bytes that alignment puts between the parts of something that is written. */
export class Padding {
  #bytes = 0;

  /**
   * Bytes from an offset to the next one that is congruent to `phase` modulo `alignment`.
   * @throws ElfFormatError when it has become more than a file has use for, before the memory is taken.
   */
  before(offset: number, alignment: number, phase = 0): number {
    const gap = alignment > 1 ? (((phase - offset) % alignment) + alignment) % alignment : 0;
    this.#bytes += gap;
    if (this.#bytes > paddingLimit)
      throw new ElfFormatError("alignments of sections leave more room than content", offset, this.#bytes);
    return gap;
  }
}

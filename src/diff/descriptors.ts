import type { ElfSymbol, SectionIndex } from "../elf/model.ts";
import { type ElfReader, isDefined } from "../elf/reader.ts";

/** A place in a section. */
export interface Place {
  readonly section: SectionIndex;
  readonly offset: number;
}

/**
 * Function descriptors of 64-bit PowerPC ELF V1 (the big-endian ABI): there the symbol of a function names an entry of `.opd`, whose first
 * doubleword is the address of the code. This reader sees through them: a symbol or a place in `.opd` is the code.
 */
export class Descriptors {
  readonly #section: SectionIndex | undefined;
  readonly #code = new Map<number, Place>();

  constructor(elf: ElfReader) {
    const section = elf.section(".opd");
    if (section === undefined) return;
    this.#section = section.index;
    for (const { offset, symbol: index, addend } of elf.relocationsFor(section.index)) {
      const symbol = elf.symbols[index];
      if (symbol === undefined || !isDefined(symbol) || symbol.section === section.index) continue;
      this.#code.set(offset, { section: symbol.section, offset: symbol.value + addend });
    }
  }

  /** True for objects whose functions have descriptors. */
  get exist(): boolean {
    return this.#code.size > 0;
  }

  /** The code that a place means, which is the place itself unless it is a descriptor. */
  codeAt(section: SectionIndex, offset: number): Place {
    const code = section === this.#section ? this.#code.get(offset) : undefined;
    return code ?? { section, offset };
  }

  /** The symbol, standing for the code where it names a descriptor. */
  seenThrough(symbol: ElfSymbol): ElfSymbol {
    if (symbol.section !== this.#section || this.#section === undefined) return symbol;
    const code = this.#code.get(symbol.value);
    return code === undefined ? symbol : { ...symbol, section: code.section, value: code.offset };
  }
}

/** Index into an object's section header table. */
export type SectionIndex = number & { readonly __section: unique symbol };
/** Index into an object's symbol table. */
export type SymbolIndex = number & { readonly __symbol: unique symbol };

/** One section header with its content (gABI chapter 4, "Sections"). */
export interface Section {
  readonly index: SectionIndex;
  readonly name: string;
  /** sh_name. */
  readonly nameOffset: number;
  readonly type: number;
  readonly flags: number;
  readonly address: number;
  /** Offset in the file. */
  readonly offset: number;
  /** Bytes; for SHT_NOBITS the size in memory. */
  readonly size: number;
  readonly link: number;
  readonly info: number;
  readonly alignment: number;
  readonly entrySize: number;
  /** Content; empty for SHT_NOBITS. A view into the file. */
  readonly data: Uint8Array;
}

/** One symbol (gABI chapter 4, "Symbol Table"). */
export interface ElfSymbol {
  readonly index: SymbolIndex;
  /** Section symbols carry the name of their section. */
  readonly name: string;
  /** st_name. */
  readonly nameOffset: number;
  readonly value: number;
  readonly size: number;
  readonly binding: number;
  readonly type: number;
  /** st_other. */
  readonly other: number;
  /** Section index, extended indices resolved; 0 when undefined, a negative `SpecialSection` value when reserved. */
  readonly section: SectionIndex;
}

/** One entry of a SHT_RELA section. */
export interface Relocation {
  /** Byte offset in the section that it patches. */
  readonly offset: number;
  readonly type: number;
  readonly symbol: SymbolIndex;
  readonly addend: number;
}

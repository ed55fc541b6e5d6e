import { SymbolType } from "../elf/constants.ts";
import type { ElfSymbol, Section, SectionIndex } from "../elf/model.ts";

/**
 * The smallest piece of an object that moves as one (the linker's word): a function with its prefix, a variable, a string, a constant, or an
 * unnamed piece between two places that are referred to.
 */
export interface Atom {
  readonly kind: AtomKind;
  readonly section: Section;
  /** First byte in the section. */
  readonly start: number;
  /** One past the last byte. */
  readonly end: number;
  /** The symbol that names it, undefined for strings, constants and unnamed pieces. */
  readonly symbol: ElfSymbol | undefined;
  /** All symbols in its range, the naming one included. */
  readonly symbols: readonly ElfSymbol[];
  /** Symbol name, or `section+0xoffset`. */
  readonly name: string;
  /** {@link name} without the numbers that a compiler chose. */
  readonly base: string;
  /** Content, without the bytes that relocations will fill; empty for zero-initialised data. */
  readonly bytes: Uint8Array;
  /** In order of their offsets. Filled once after all atoms exist. */
  references: readonly Reference[];
}

export type AtomKind = "function" | "code" | "data" | "bss" | "rodata" | "string" | "constant";

/** A place in an atom that is filled with an address: a relocation, or a branch that the assembler has already resolved within its section. */
export interface Reference {
  /** Byte offset in the atom. */
  readonly offset: number;
  /** ELF relocation type. */
  readonly type: number;
  readonly target: Target;
  /** The assembler resolved it: there is no relocation, and the place holds the distance. */
  readonly implicit: boolean;
}

/**
 * What a reference points at. `addend` is such that the relocation's symbol + addend equals the address of the target + this addend
 * (so a PC-relative one keeps the psABI's −4).
 */
export type Target =
  | { readonly kind: "atom"; readonly atom: Atom; readonly addend: number }
  | { readonly kind: "external"; readonly name: string; readonly weak: boolean; readonly addend: number }
  | { readonly kind: "entry"; readonly entry: TableEntry; readonly addend: number }
  | { readonly kind: "absolute"; readonly addend: number };

/**
 * One entry of a special table. Code may refer to the entry about a place in it: in Linux 7.3, a WARN() with a text passes the address of its entry in
 * `__bug_table` (`__WARN_bug_entry()`, arch/x86/include/asm/bug.h).
 */
export interface TableEntry {
  /** Section name of its table. */
  readonly table: string;
  readonly section: SectionIndex;
  /** First byte in the section. */
  readonly start: number;
  readonly bytes: Uint8Array;
  readonly references: readonly Reference[];
  /** The place in the code that the entry is about: its first reference. */
  readonly place: { readonly atom: Atom; readonly offset: number } | undefined;
  /** For `.orc_unwind_ip`: the bytes of the `.orc_unwind` entry of the same number. */
  readonly partner: Uint8Array | undefined;
}

/** True for an entry of a pool of addresses that a compiler shares between functions (the TOC): it stands for what it points at. */
export function isPoolEntry({ kind, symbol, references }: Atom): boolean {
  return kind === "constant" && symbol === undefined && references.length === 1;
}

/** What a reference means, an entry of a pool of addresses seen through. */
export function seenThrough(target: Target): Target {
  if (target.kind !== "atom" || target.addend !== 0 || !isPoolEntry(target.atom)) return target;
  return (target.atom.references[0] as Reference).target;
}

/** True when calls and jumps can enter it and ftrace may know it: a FUNC symbol in an executable section. */
export function isFunction(atom: Atom): boolean {
  return atom.kind === "function";
}

/** True for the resolver of an indirect function (GNU extension of the gABI: STT_GNU_IFUNC): a call of its name runs what it chooses. */
export function isIndirect({ symbols }: Atom): boolean {
  return symbols.some(({ type }) => type === SymbolType.gnuIfunc);
}

/** True for read-only atoms whose content is all that matters: text constants and unnamed read-only pieces. */
export function isAnonymousConstant(atom: Atom): boolean {
  return atom.kind === "string" || atom.kind === "constant" || (atom.kind === "rodata" && atom.symbol === undefined);
}

/** Names and numbers of the ELF gABI (chapters 4 and 5), the x86-64 psABI and Linux's livepatch format, as they are written on disk. */

export const ELFCLASS64 = 2;
export const ELFDATA2LSB = 1;
export const ELFDATA2MSB = 2;

export const Machine = { ppc64: 21, s390: 22, x86_64: 62, aarch64: 183, loongarch: 258 } as const;

export const SectionType = {
  null: 0,
  progbits: 1,
  symtab: 2,
  strtab: 3,
  rela: 4,
  hash: 5,
  dynamic: 6,
  note: 7,
  nobits: 8,
  rel: 9,
  dynsym: 11,
  initArray: 14,
  finiArray: 15,
  group: 17,
  symtabShndx: 18,
  llvmAddrsig: 0x6fff4c03,
} as const;

export const SectionFlag = {
  write: 0x1,
  alloc: 0x2,
  execinstr: 0x4,
  merge: 0x10,
  strings: 0x20,
  infoLink: 0x40,
  linkOrder: 0x80,
  group: 0x200,
  tls: 0x400,
  /** SHF_RELA_LIVEPATCH of include/uapi/linux/elf.h. */
  relaLivepatch: 0x00100000,
} as const;

/**
 * Special values of st_shndx. In memory the reserved range 0xff00–0xffff is kept as negative numbers, so that it cannot be taken for one of the
 * real sections of an object with more than 65,279 of them.
 */
export const SpecialSection = {
  undef: 0,
  /** SHN_LIVEPATCH 0xff20 of include/uapi/linux/elf.h. */
  livepatch: 0xff20 - 0x10000,
  abs: 0xfff1 - 0x10000,
  common: 0xfff2 - 0x10000,
} as const;
export const SHN_LORESERVE = 0xff00;
export const SHN_XINDEX = 0xffff;

export const Binding = { local: 0, global: 1, weak: 2, gnuUnique: 10 } as const;

export const SymbolType = {
  notype: 0,
  object: 1,
  func: 2,
  section: 3,
  file: 4,
  common: 5,
  tls: 6,
  gnuIfunc: 10,
} as const;

/** Relocation types of the x86-64 psABI, table 4.9. */
export const RelocationX86 = {
  none: 0,
  abs64: 1,
  pc32: 2,
  got32: 3,
  plt32: 4,
  gotpcrel: 9,
  abs32: 10,
  abs32s: 11,
  abs16: 12,
  pc16: 13,
  abs8: 14,
  pc8: 15,
  pc64: 24,
  gotpcrelx: 41,
  rexGotpcrelx: 42,
} as const;

/** Sizes of the fixed structures of 64-bit ELF, in bytes. */
export const EHDR_SIZE = 64;
export const SHDR_SIZE = 64;
export const SYM_SIZE = 24;
export const RELA_SIZE = 24;

import type { Bytes } from "./bytes.ts";
import { EHDR_SIZE, ELFCLASS64, ELFDATA2LSB, ELFDATA2MSB, SHDR_SIZE } from "./constants.ts";
import { ElfFormatError } from "./format-error.ts";

/** The ELF header (gABI chapter 4, "ELF Header"), its section count and string index already resolved. */
export interface FileHeader {
  /** The 16 bytes of e_ident. */
  readonly ident: Uint8Array;
  readonly type: number;
  readonly machine: number;
  readonly version: number;
  readonly entry: number;
  readonly programHeaderOffset: number;
  readonly programHeaderCount: number;
  readonly programHeaderSize: number;
  readonly flags: number;
  readonly sectionHeaderOffset: number;
  readonly sectionCount: number;
  readonly sectionNamesIndex: number;
}

/** Byte order of an ELF file. @throws ElfFormatError when it is not a 64-bit ELF file. */
export function byteOrder(file: Uint8Array): "little" | "big" {
  if (file.length < EHDR_SIZE) throw new ElfFormatError("too short for an ELF header", 0, file.length);
  if (file[0] !== 0x7f || file[1] !== 0x45 || file[2] !== 0x4c || file[3] !== 0x46) {
    throw new ElfFormatError("no ELF magic at the start", 0, Buffer.from(file.subarray(0, 4)).toString("hex"));
  }
  if (file[4] !== ELFCLASS64) throw new ElfFormatError("not a 64-bit file", 4, file[4]);
  if (file[5] === ELFDATA2LSB) return "little";
  if (file[5] === ELFDATA2MSB) return "big";
  throw new ElfFormatError("unknown byte order", 5, file[5]);
}

/** Reads the ELF header (gABI chapter 4) and checks that the section header table lies in the file. @throws ElfFormatError */
export function readFileHeader(bytes: Bytes): FileHeader {
  const sectionHeaderOffset = bytes.size(40);
  const entrySize = bytes.u16(58);
  let sectionCount = bytes.u16(60);
  let sectionNamesIndex = bytes.u16(62);
  if (sectionHeaderOffset !== 0) {
    if (entrySize !== SHDR_SIZE) throw new ElfFormatError("section headers of unexpected size", 58, entrySize);
    // Counts that do not fit into 16 bits stand in the first section header (gABI, extended numbering).
    if (sectionCount === 0) sectionCount = bytes.size(sectionHeaderOffset + 32);
    if (sectionNamesIndex === 0xffff) sectionNamesIndex = bytes.u32(sectionHeaderOffset + 40);
    if (sectionHeaderOffset + sectionCount * SHDR_SIZE > bytes.length) {
      throw new ElfFormatError("section header table runs beyond the end", sectionHeaderOffset, sectionCount);
    }
  }
  if (sectionCount > 0 && sectionNamesIndex >= sectionCount) {
    throw new ElfFormatError("section name table out of range", 62, sectionNamesIndex);
  }
  return {
    ident: bytes.data.slice(0, 16),
    type: bytes.u16(16),
    machine: bytes.u16(18),
    version: bytes.u32(20),
    entry: bytes.i64(24),
    programHeaderOffset: bytes.size(32),
    flags: bytes.u32(48),
    programHeaderSize: bytes.u16(54),
    programHeaderCount: bytes.u16(56),
    sectionHeaderOffset,
    sectionCount: sectionHeaderOffset === 0 ? 0 : sectionCount,
    sectionNamesIndex,
  };
}

import type { ElfReader } from "./reader.ts";

/** The version of one symbol that a module uses. */
export interface SymbolVersion {
  readonly name: string;
  /** Version checksum, as in Module.symvers. */
  readonly crc: number;
}

/** Bytes of one entry of `__versions`: `struct modversion_info` (include/linux/module.h), an unsigned long and the name. */
export const versionEntrySize = 64;

/** Bytes that a name has there, its terminating zero included. */
export const versionNameSize = 56;

/** The versions that a 64-bit module expects of the symbols it uses; none when it has no section for them. */
export function readVersions(elf: ElfReader): SymbolVersion[] {
  const data = elf.section("__versions")?.data ?? new Uint8Array(0);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return Array.from({ length: Math.floor(data.length / versionEntrySize) }, (_, index) => {
    const at = index * versionEntrySize;
    const name = Buffer.from(data.subarray(at + 8, at + versionEntrySize)).toString("latin1");
    return {
      name: name.slice(0, name.indexOf("\0")),
      crc: view.getUint32(at + (elf.littleEndian ? 0 : 4), elf.littleEndian),
    };
  });
}

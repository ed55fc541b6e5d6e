import { type EncodedSymbol, encodeKallsyms, type Layout, layouts } from "./kallsyms-encoder.ts";

export const textAddress = -0x7f000000;
export const rodataAddress = -0x7e000000;
export const buildId = "00112233445566778899aabbccddeeff00112233";
export const banner =
  "Linux version 6.1.0-9-amd64 (kernel@example.org) (gcc-12 (Debian 12.2.0-9) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.9-1 (2024-01-31)";
/** The tables begin here in .rodata, behind the banner. */
export const tablesOffset = 0x208;

/** Symbols of a kernel with per-CPU data, repeated names, aliases and one name of more than 127 tokens. */
export function sampleSymbols(count = 1500, percpu = true): EncodedSymbol[] {
  const symbols: EncodedSymbol[] = [];
  if (percpu) {
    symbols.push({ address: 0, type: "A", name: "__per_cpu_start" });
    symbols.push({ address: 0x18, type: "A", name: "cpu_number" });
  }
  symbols.push({ address: textAddress, type: "T", name: "_text" });
  symbols.push({ address: textAddress, type: "T", name: "_stext" });
  for (let index = 0; symbols.length < count; index++) {
    const address = textAddress + 0x40 + 16 * index;
    const name = index % 100 === 7 ? "t_show" : `${["tcp_", "ext4_", "sys_", "x"][index % 4]}${index}_probe`;
    symbols.push({ address, type: index % 3 === 0 ? "T" : "t", name });
  }
  symbols.push({ address: rodataAddress, type: "D", name: "linux_banner" });
  symbols.push({ address: rodataAddress + 0x100, type: "d", name: `_RN${"abc".repeat(60)}` });
  symbols.push({ address: rodataAddress + 0x180, type: "B", name: "_end" });
  return symbols;
}

/** How `__ksymtab` is made: bytes of an entry, which has pointers when they are 8 bytes each, else offsets from their own places. */
export const exportForms = [
  { size: 12, width: 4 },
  { size: 8, width: 4 },
  { size: 24, width: 8 },
  { size: 16, width: 8 },
] as const;

/** The sections that a kernel lists its exported symbols in. */
export function exportSections(symbols: readonly EncodedSymbol[], form: (typeof exportForms)[number]): ElfSection[] {
  const address = rodataAddress + 0x300000;
  const namesAddress = rodataAddress + 0x400000;
  const { size, width } = form;
  const table = Buffer.alloc(size * symbols.length);
  let names = "\0";
  const point = (at: number, value: number): void => {
    if (width === 8) table.writeBigInt64LE(BigInt(value), at);
    else table.writeInt32LE(value - (address + at), at);
  };
  for (const [index, symbol] of symbols.entries()) {
    const text = `${symbol.name}\0`;
    // As the linker does, a name that another one ends with begins within that.
    const known = names.indexOf(text);
    point(index * size, symbol.address);
    point(index * size + width, namesAddress + (known < 0 ? names.length : known));
    if (size === 3 * width) point(index * size + 2 * width, namesAddress);
    if (known < 0) names += text;
  }
  return [
    { name: "__ksymtab", type: 1, flags: 2, address, data: table },
    { name: "__ksymtab_strings", type: 1, flags: 2, address: namesAddress, data: Buffer.from(names, "latin1") },
  ];
}

/** An ELF file with the parts of a kernel that kmend looks at. */
export function tinyKernel(
  symbols: readonly EncodedSymbol[] = sampleSymbols(),
  layout: Layout = layouts["6.2, absolute percpu"] as Layout,
  more: readonly ElfSection[] = [],
): Buffer {
  const rodata = Buffer.concat([
    Buffer.from(`${banner}\n\0`.padEnd(tablesOffset, "\0"), "latin1"),
    encodeKallsyms(symbols, layout, rodataAddress + tablesOffset),
    Buffer.from("something else", "latin1"),
  ]);
  const note = Buffer.alloc(16 + buildId.length / 2);
  note.writeUInt32LE(4, 0);
  note.writeUInt32LE(buildId.length / 2, 4);
  note.writeUInt32LE(3, 8);
  note.write("GNU\0", 12, "latin1");
  note.write(buildId, 16, "hex");
  return elfFile([
    { name: ".text", type: 1, flags: 6, address: textAddress, data: Buffer.alloc(0x8000, 0x90) },
    { name: ".rodata", type: 1, flags: 2, address: rodataAddress, data: rodata },
    { name: ".notes", type: 7, flags: 2, address: rodataAddress + 0x100000, data: note },
    { name: ".BTF", type: 1, flags: 2, address: rodataAddress + 0x200000, data: Buffer.from([0x9f, 0xeb, 1, 0]) },
    ...more,
  ]);
}

/** A section of an ELF file that a test makes. */
export interface ElfSection {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly address: number;
  readonly data: Buffer;
}

/** A 64-bit little-endian x86 executable of these sections and nothing else. */
function elfFile(sections: readonly ElfSection[]): Buffer {
  const names = Buffer.from(`\0${sections.map(({ name }) => `${name}\0`).join("")}.shstrtab\0`, "latin1");
  const all = [...sections, { name: ".shstrtab", type: 3, flags: 0, address: 0, data: names }];
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(62, 18);
  header.writeUInt32LE(1, 20);
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(64, 58);
  header.writeUInt16LE(all.length + 1, 60);
  header.writeUInt16LE(all.length, 62);
  const headers = Buffer.alloc(64 * (all.length + 1));
  const parts: Buffer[] = [header];
  let offset = 64;
  for (const [index, { name, type, flags, address, data }] of all.entries()) {
    const at = 64 * (index + 1);
    headers.writeUInt32LE(names.indexOf(`${name}\0`), at);
    headers.writeUInt32LE(type, at + 4);
    headers.writeBigUInt64LE(BigInt(flags), at + 8);
    headers.writeBigInt64LE(BigInt(address), at + 16);
    headers.writeBigUInt64LE(BigInt(offset), at + 24);
    headers.writeBigUInt64LE(BigInt(data.length), at + 32);
    headers.writeBigUInt64LE(8n, at + 48);
    const padded = Buffer.concat([data, Buffer.alloc((8 - (data.length % 8)) % 8)]);
    parts.push(padded);
    offset += padded.length;
  }
  header.writeBigUInt64LE(BigInt(offset), 40);
  return Buffer.concat([...parts, headers]);
}

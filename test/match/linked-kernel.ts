import type { TableRule } from "../../src/diff/special-sections/special-sections.ts";
import { SectionFlag, SectionType, SymbolType } from "../../src/elf/constants.ts";
import type { ElfSymbol, Section } from "../../src/elf/model.ts";
import { ElfReader, isDefined } from "../../src/elf/reader.ts";
import { LinkedTables } from "../../src/match/linked-tables.ts";
import {
  type PlaceValue,
  readSigned,
  type TargetEntry,
  type TargetObject,
  type TargetSymbol,
} from "../../src/match/target-object.ts";
import { assemble, link } from "../fixtures/compile.ts";

/** What units of the fixtures call. */
const elsewhere = assemble(`
  .text
  .globl __fentry__, take, outside, printk, complain, __SCT__hook, __SCK__hook
  .type take, @function
  .type outside, @function
  .type printk, @function
  .type __fentry__, @function
  __fentry__: ret
  take: mov %edi, %eax; ret
  outside: ret; nop; nop
  printk: xor %eax, %eax; ret
  complain: ret
  __SCT__hook: ret
  .data
  __SCK__hook: .quad 0
`);

/** Links units at kernel addresses, as an image would hold them. */
export function linkKernel(units: readonly Uint8Array[], extra: readonly string[] = []): LinkedKernel {
  const flags = ["-static", "-e", "0", "-Ttext=0xffffffff81000000", "--no-relax", ...extra];
  return new LinkedKernel(link([...units, elsewhere], flags));
}

/** A linked file as something to match against; the real ones read packed kernel images. */
export class LinkedKernel implements TargetObject {
  readonly name = "vmlinux";
  readonly source = "the linked fixture";
  readonly elf: ElfReader;
  readonly #symbols: readonly ElfSymbol[];
  readonly #tables: LinkedTables;

  constructor(file: Uint8Array) {
    this.elf = new ElfReader(Uint8Array.from(file));
    this.#symbols = this.elf.symbols
      .filter((symbol) => isDefined(symbol) && symbol.type !== SymbolType.section && symbol.type !== SymbolType.file)
      .sort((a, b) => a.value - b.value);
    this.#tables = new LinkedTables({
      addressOf: (name) => this.#symbols.find((symbol) => symbol.name === name)?.value,
      sections: this.elf.sections.filter(({ flags }) => (flags & SectionFlag.alloc) !== 0),
      bytesAt: (address, length) => this.bytesAt(address, length),
    });
  }

  /** Address of the only symbol of that name. */
  addressOf(name: string): number {
    const [symbol, ...others] = this.symbolsNamed(name);
    if (symbol === undefined || others.length > 0) throw new Error(`${others.length + 1} symbols named ${name}`);
    return symbol.address;
  }

  /** A copy with other bytes at an address. */
  with(address: number, bytes: readonly number[]): LinkedKernel {
    const section = this.#sectionAt(address) as Section;
    const file = Uint8Array.from(this.elf.file);
    file.set(bytes, section.offset + address - section.address);
    return new LinkedKernel(file);
  }

  symbolsNamed(name: string): readonly TargetSymbol[] {
    const found = this.#symbols.filter((symbol) => symbol.name === name);
    return found.map(({ value, binding }, at) => ({
      ...{ name, address: value, sympos: found.length === 1 ? 0 : at + 1 },
      binding: ({ 0: "local", 2: "weak" } as const)[binding] ?? "global",
    }));
  }

  namesBetween(from: number, to: number): string[] {
    return this.#symbols.filter(({ value }) => value > from && value < to).map(({ name }) => name);
  }

  symbolsAt(address: number): readonly TargetSymbol[] {
    const names = new Set(this.#symbols.filter(({ value }) => value === address).map(({ name }) => name));
    return [...names].flatMap((name) => this.symbolsNamed(name).filter((symbol) => symbol.address === address));
  }

  roomAt(address: number): number | undefined {
    const section = this.#sectionAt(address);
    if (section === undefined) return undefined;
    const next = this.#symbols.find(({ value }) => value > address)?.value ?? Number.POSITIVE_INFINITY;
    return Math.min(next, section.address + section.size) - address;
  }

  bytesAt(address: number, length: number): Uint8Array | undefined {
    const section = this.#sectionAt(address);
    if (section === undefined) return undefined;
    const start = address - section.address;
    return start + length <= section.data.length ? section.data.subarray(start, start + length) : undefined;
  }

  valueAt(address: number, width: number, pcRelative: boolean): PlaceValue | undefined {
    const bytes = this.bytesAt(address, width);
    if (bytes === undefined) return undefined;
    return { kind: "address", address: readSigned(bytes) + (pcRelative ? address : 0) };
  }

  isZeroAt(address: number): boolean {
    return this.#sectionAt(address)?.type === SectionType.nobits;
  }

  sectionAt(address: number): string | undefined {
    return this.#sectionAt(address)?.name;
  }

  tableEntries(
    rule: TableRule,
    size: number | undefined,
    from: number,
    to: number,
  ): readonly TargetEntry[] | undefined {
    return this.#tables.entries(rule, size, from, to);
  }

  runtimeTables(): readonly string[] {
    return this.#tables.runtimeTables;
  }

  #sectionAt(address: number): Section | undefined {
    return this.elf.sections.find(
      (section) =>
        (section.flags & SectionFlag.alloc) !== 0 &&
        address >= section.address &&
        address < section.address + section.size,
    );
  }
}

import type { Architecture } from "../diff/arch/arch.ts";
import { architectureOf } from "../diff/arch/index.ts";
import { runtimeTableRule, type TableRule } from "../diff/special-sections/special-sections.ts";
import { Binding, SectionFlag, SectionType, SpecialSection, SymbolType } from "../elf/constants.ts";
import type { ElfSymbol, Relocation, Section, SectionIndex } from "../elf/model.ts";
import { ElfReader, isDefined } from "../elf/reader.ts";
import { readModinfo } from "../patch-module/modinfo.ts";
import { type FunctionUses, holdsNumber, isBranchField, tablesOfCode } from "./function-uses.ts";
import { entrySize, TableIndex } from "./table-index.ts";
import {
  type PlaceValue,
  readSigned,
  type SymbolBinding,
  type TargetEntry,
  type TargetObject,
  type TargetSymbol,
} from "./target-object.ts";

/** Distance between the made-up addresses of two sections: more than any section is long, and exact in a double. */
const sectionStride = 2 ** 36;

/**
 * A shipped module (.ko) as something to match against. It is not linked: places hold relocations, except for branches within a section, which the
 * assembler resolved. Addresses are section number × 2^36 + offset.
 */
export class ModuleObject implements TargetObject {
  readonly name: string;
  readonly source: string;
  readonly dependsOn: ReadonlySet<string>;
  readonly #elf: ElfReader;
  readonly #arch: Architecture;
  readonly #tables = new Map<string, readonly ModuleTable[]>();
  readonly #byName = new Map<string, TargetSymbol[]>();
  readonly #byAddress = new Map<number, TargetSymbol[]>();
  readonly #relocations = new Map<SectionIndex, Map<number, Relocation>>();
  readonly #offsets = new Map<SectionIndex, readonly number[]>();
  readonly #starts = new Map<SectionIndex, number[]>();
  readonly #gone = new Map<string, string>();
  readonly #sizes = new Map<number, number[]>();
  #ascending: readonly number[] | undefined;

  /** @throws ElfFormatError when the file is damaged. */
  constructor(name: string, file: Uint8Array, source: string) {
    this.name = name;
    this.source = source;
    this.#elf = new ElfReader(file);
    const depends = readModinfo(this.#elf).get("depends") ?? [];
    this.dependsOn = new Set(depends.flatMap((list) => list.split(",")).map((other) => other.replaceAll("-", "_")));
    this.#arch = architectureOf(this.#elf.header.machine);
    const known: { symbol: ElfSymbol; address: number }[] = [];
    for (const symbol of this.#elf.symbols) {
      if (!isCoreSymbol(this.#elf, symbol)) {
        const section = isDefined(symbol) ? this.#elf.sections[symbol.section] : undefined;
        if (section?.name.startsWith(".init") === true) this.#gone.set(symbol.name, section.name);
        continue;
      }
      const address = addressIn(symbol.section, symbol.value);
      known.push({ symbol, address });
      if (symbol.size > 0) this.#sizes.set(address, [...(this.#sizes.get(address) ?? []), symbol.size]);
      const starts = this.#starts.get(symbol.section);
      if (starts === undefined) this.#starts.set(symbol.section, [symbol.value]);
      else starts.push(symbol.value);
    }
    for (const starts of this.#starts.values()) starts.sort((a, b) => a - b);
    const counts = new Map<string, number>();
    for (const { symbol } of known) counts.set(symbol.name, (counts.get(symbol.name) ?? 0) + 1);
    // A module's symbols are counted in the order of its symbol table (module_kallsyms_on_each_symbol(), kernel/module/kallsyms.c).
    for (const { symbol, address } of known) {
      const list = this.#byName.get(symbol.name) ?? [];
      const sympos = counts.get(symbol.name) === 1 ? 0 : list.length + 1;
      const entry = { name: symbol.name, address, sympos, binding: elfBinding(symbol.binding) };
      this.#byName.set(symbol.name, [...list, entry]);
      this.#byAddress.set(address, [...(this.#byAddress.get(address) ?? []), entry]);
    }
  }

  /** Address of a place in a section. */
  static addressIn(section: number, offset: number): number {
    return addressIn(section, offset);
  }

  symbolsNamed(name: string): readonly TargetSymbol[] {
    return this.#byName.get(name) ?? [];
  }

  symbolsAt(address: number): readonly TargetSymbol[] {
    return this.#byAddress.get(address) ?? [];
  }

  goneNamed(name: string): string | undefined {
    return this.#gone.get(name);
  }

  *namesBetween(from: number, to: number): Iterable<string> {
    this.#ascending ??= [...this.#byAddress.keys()].sort((a, b) => a - b);
    let low = 0;
    for (let high = this.#ascending.length; low < high; ) {
      const middle = (low + high) >> 1;
      if ((this.#ascending[middle] as number) <= from) low = middle + 1;
      else high = middle;
    }
    for (let at = low; (this.#ascending[at] ?? to) < to; at++)
      yield* this.symbolsAt(this.#ascending[at] as number).map(({ name }) => name);
  }

  roomAt(address: number): number | undefined {
    const place = this.#place(address);
    if (place === undefined) return undefined;
    const next = this.#starts.get(place.section.index)?.find((start) => start > place.offset) ?? place.section.size;
    return next - place.offset;
  }

  sizesAt(address: number): readonly number[] {
    return this.#sizes.get(address) ?? [];
  }

  bytesAt(address: number, length: number): Uint8Array | undefined {
    const place = this.#place(address);
    if (place === undefined || place.offset + length > place.section.data.length) return undefined;
    return place.section.data.subarray(place.offset, place.offset + length);
  }

  valueAt(address: number, width: number, pcRelative: boolean): PlaceValue | undefined {
    const place = this.#place(address);
    const bytes = this.bytesAt(address, width);
    if (place === undefined || bytes === undefined) return undefined;
    const relocation = this.#relocationAt(place.section, place.offset);
    if (relocation === undefined) {
      // Only a distance within the section can be final before loading.
      return pcRelative ? { kind: "address", address: address + readSigned(bytes) } : undefined;
    }
    // Another kind of relocation makes something else of the same symbol.
    const isOfKind =
      this.#arch.relocationWidth(relocation.type) === width && this.#arch.isPcRelative(relocation.type) === pcRelative;
    if (!isOfKind) return undefined;
    const symbol = this.#elf.symbols[relocation.symbol] as ElfSymbol;
    if (relocation.symbol === 0 || symbol.section === SpecialSection.abs)
      return { kind: "absolute", value: (symbol?.value ?? 0) + relocation.addend };
    if (!isDefined(symbol)) return { kind: "external", name: symbol.name, addend: relocation.addend };
    return { kind: "address", address: addressIn(symbol.section, symbol.value) + relocation.addend };
  }

  placesIn(address: number, length: number): readonly number[] {
    const place = this.#place(address);
    if (place === undefined) return [];
    const sorted = this.#relocationOffsets(place.section);
    const found: number[] = [];
    for (
      let at = firstNotBelow(sorted, place.offset);
      (sorted[at] ?? Number.POSITIVE_INFINITY) < place.offset + length;
      at++
    )
      found.push(address + (sorted[at] as number) - place.offset);
    return found;
  }

  isZeroAt(address: number, length: number): boolean {
    const place = this.#place(address);
    return (
      place !== undefined && place.section.type === SectionType.nobits && place.offset + length <= place.section.size
    );
  }

  sectionAt(address: number): string | undefined {
    return this.#place(address)?.section.name;
  }

  tableEntries(rule: TableRule, size: number | undefined, from: number, to: number): readonly TargetEntry[] {
    const key = `${rule.table} ${size ?? ""}`;
    let tables = this.#tables.get(key);
    if (tables === undefined) {
      tables = this.#elf.sections.flatMap((section) =>
        section.name === rule.table && section.size > 0 ? this.#readTable(section, rule, size) : [],
      );
      this.#tables.set(key, tables);
    }
    return tables.flatMap((table) =>
      table.index.within(from, to).map(({ number, place }) => ({
        at: addressIn(table.section, number * table.size),
        size: table.size,
        place,
        partner:
          table.partner === undefined
            ? undefined
            : { at: addressIn(table.partner.section, number * table.partner.size), size: table.partner.size },
      })),
    );
  }

  usesOfFunction(address: number): FunctionUses | undefined {
    if (this.#arch.name !== "x86_64") return undefined;
    const [calls, others]: [number[], string[]] = [[], []];
    for (const section of this.#elf.sections) {
      const isLoaded = (section.flags & SectionFlag.alloc) !== 0 && section.type !== SectionType.rela;
      // Init code counts: it runs behind the patch where the module is loaded later (prepare_coming_module(), kernel/module/main.c).
      if (!isLoaded || tablesOfCode.has(section.name)) continue;
      const isCode = (section.flags & SectionFlag.execinstr) !== 0;
      for (const { offset, type } of this.#elf.relocationsFor(section.index)) {
        const at = addressIn(section.index, offset);
        const [width, isRelative] = [this.#arch.relocationWidth(type), this.#arch.isPcRelative(type)];
        if (width === undefined)
          others.push(`${section.name}+0x${offset.toString(16)} has a relocation of unknown kind`);
        const value = width === undefined || width === 0 ? undefined : this.valueAt(at, width, isRelative);
        if (value?.kind !== "address") continue;
        const isBranch = isCode && isRelative && isBranchField(section.data, offset);
        // The distance of a branch counts from the end of its field.
        if (isBranch && value.address + 4 === address) calls.push(at);
        else if ([0, 4].some((beyond) => value.address + beyond === address))
          others.push(`${section.name}+0x${offset.toString(16)} holds its address`);
      }
      const home = this.#place(address);
      if (!isCode || home?.section !== section) continue;
      // The assembler has filled branches to neighbours.
      const view = new DataView(section.data.buffer, section.data.byteOffset, section.data.byteLength);
      for (let at = 0; at + 4 <= section.data.length; at++) {
        if (at + 4 + view.getInt32(at, true) !== home.offset || !isBranchField(section.data, at)) continue;
        if (this.#relocationAt(section, at) === undefined) calls.push(addressIn(section.index, at));
      }
    }
    return { calls, others };
  }

  namesTypes(numbers: ReadonlySet<number>): boolean {
    const ids = this.#elf.section(".BTF_ids");
    return ids !== undefined && holdsNumber(ids.data, numbers);
  }

  functionAt(address: number): number | undefined {
    const place = this.#place(address);
    if (place === undefined) return undefined;
    const start = this.#starts.get(place.section.index)?.findLast((each) => each <= place.offset);
    return start === undefined ? undefined : addressIn(place.section.index, start);
  }

  runtimeTables(): readonly string[] {
    return this.#elf.sections.flatMap(({ name }) => (runtimeTableRule(name) === undefined ? [] : [name]));
  }

  #readTable(section: Section, rule: TableRule, known: number | undefined): ModuleTable[] {
    const { width, isRelative } = rule.place;
    const size = entrySize(section.data, known, rule);
    if (size === undefined) return [];
    const places = new Float64Array(section.size / size);
    for (let number = 0; number < places.length; number++) {
      const value = this.valueAt(addressIn(section.index, number * size), width, isRelative);
      places[number] = value?.kind === "address" ? value.address : Number.NaN;
    }
    const partner = rule.partner === undefined ? undefined : this.#elf.section(rule.partner.table);
    return [
      {
        section: section.index,
        size,
        index: new TableIndex(places),
        partner: partner === undefined ? undefined : { section: partner.index, size: partner.size / places.length },
      },
    ];
  }

  #place(address: number): { section: Section; offset: number } | undefined {
    const index = Math.floor((address + sectionStride / 2) / sectionStride);
    const section = this.#elf.sections[index];
    const offset = address - index * sectionStride;
    return section === undefined || offset < 0 || offset > section.size ? undefined : { section, offset };
  }

  /** Offsets with a relocation that fills something, in order. */
  #relocationOffsets(section: Section): readonly number[] {
    let offsets = this.#offsets.get(section.index);
    if (offsets === undefined) {
      offsets = this.#elf
        .relocationsFor(section.index)
        .filter(({ type }) => this.#arch.relocationWidth(type) !== 0)
        .map(({ offset }) => offset)
        .sort((a, b) => a - b);
      this.#offsets.set(section.index, offsets);
    }
    return offsets;
  }

  #relocationAt(section: Section, offset: number): Relocation | undefined {
    let map = this.#relocations.get(section.index);
    if (map === undefined) {
      map = new Map(this.#elf.relocationsFor(section.index).map((relocation) => [relocation.offset, relocation]));
      this.#relocations.set(section.index, map);
    }
    return map.get(offset);
  }
}

/** A binding of the ELF gABI (chapter 4, "Symbol Table"); those of GNU are visible to all. */
function elfBinding(binding: number): SymbolBinding {
  if (binding === Binding.local) return "local";
  return binding === Binding.weak ? "weak" : "global";
}

/** A table of the module, by the places that its entries are about. */
interface ModuleTable {
  readonly section: number;
  readonly size: number;
  readonly index: TableIndex;
  readonly partner: { readonly section: number; readonly size: number } | undefined;
}

function firstNotBelow(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function addressIn(section: number, offset: number): number {
  return section * sectionStride + offset;
}

/** is_core_symbol() of kernel/module/kallsyms.c: defined, in memory, not part of init. With KALLSYMS_ALL data counts too. */
function isCoreSymbol(elf: ElfReader, symbol: ElfSymbol): boolean {
  if (!isDefined(symbol) || symbol.name === "" || symbol.type === SymbolType.section || symbol.type === SymbolType.file)
    return false;
  const section = elf.sections[symbol.section] as Section;
  return (section.flags & SectionFlag.alloc) !== 0 && !section.name.startsWith(".init");
}

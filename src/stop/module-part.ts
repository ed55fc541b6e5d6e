import { SectionFlag, SymbolType } from "../elf/constants.ts";
import { ElfReader } from "../elf/reader.ts";
import type { ShippedModules } from "../kernel/modules/shipped-module.ts";
import { Btf } from "../kernel/types/btf.ts";
import { ModuleObject } from "../match/module-object.ts";
import { cacheRoot } from "../support/cache.ts";
import type { NamedSymbol } from "./kernel-parts.ts";

/** A module of the kernel, as a stop has to know it. */
export interface ModulePart {
  /** All symbols of that name that the kernel will know, in its order of counting. */
  symbolsNamed(name: string): readonly NamedSymbol[];
  /** Whether the module has such a function for the time of its load only. */
  isInitCode(name: string): boolean;
  /** The module's types on top of the kernel's; undefined when its file has none. */
  readonly types: Btf | undefined;
}

/** Reads a module that the kernel ships; undefined when it ships none of that name. @throws ElfFormatError, BtfFormatError */
export async function modulePart(
  modules: ShippedModules,
  object: string,
  base: Btf,
  signal?: AbortSignal,
): Promise<ModulePart | undefined> {
  const shipped = modules.find(object);
  if (shipped === undefined) return undefined;
  const file = await modules.readOnce(shipped, cacheRoot(), signal);
  const elf = new ElfReader(file);
  const target = new ModuleObject(shipped.name, file, `${shipped.name}.ko`);
  const traced = tracedPlaces(elf);
  const btf = elf.section(".BTF");
  return {
    types: btf === undefined ? undefined : new Btf(btf.data, `${shipped.name}.ko`, base),
    isInitCode: (name) => target.goneNamed(name) !== undefined,
    symbolsNamed: (name) =>
      target.symbolsNamed(name).map(({ address }): NamedSymbol => {
        const home = elf.symbols.find(
          (symbol) => symbol.name === name && ModuleObject.addressIn(symbol.section, symbol.value) === address,
        );
        const section = home === undefined ? undefined : elf.sections[home.section];
        const isCode = home?.type === SymbolType.func && ((section?.flags ?? 0) & SectionFlag.execinstr) !== 0;
        return {
          type: isCode ? "t" : "d",
          code: home === undefined ? undefined : section?.data.subarray(home.value, home.value + home.size),
          traceable: [address, address + 4].some((place) => traced.has(place)),
          after: section === undefined ? "" : `${section.name}+0x${(home?.value ?? 0).toString(16)}`,
        };
      }),
  };
}

/** Where the calls are that ftrace will control. */
function tracedPlaces(elf: ElfReader): ReadonlySet<number> {
  const table = elf.section("__mcount_loc");
  if (table === undefined) return new Set();
  return new Set(
    elf.relocationsFor(table.index).flatMap(({ symbol, addend }) => {
      const home = elf.symbols[symbol];
      return home === undefined ? [] : [ModuleObject.addressIn(home.section, home.value + addend)];
    }),
  );
}

import { SymbolType } from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";

/** The compiler or objtool lists the place of each call of ftrace; before it there may be an ENDBR of four bytes. */
const places = "__mcount_loc";
const longestStart = 4;

/** Sections whose code is gone after it has run, or is not that of a kernel at work. */
const brief = /^\.(init|exit|head|ref|meminit|cpuinit)\.text/;

/** The functions of a unit's object that ftrace can redirect, in the order of their names: each with all names of its place, since one may have aliases. */
export function tracedFunctions(content: Uint8Array): string[][] {
  const elf = new ElfReader(content);
  const table = elf.section(places);
  if (table === undefined) return [];
  const traced = new Set(
    elf.relocationsFor(table.index).map(({ symbol, addend }) => {
      const base = elf.symbols[symbol];
      return `${base?.section} ${(base?.value ?? 0) + addend}`;
    }),
  );
  const named = new Map<string, string[]>();
  for (const { type, section, value, name } of elf.symbols) {
    if (type !== SymbolType.func || brief.test(elf.sections[section]?.name ?? "")) continue;
    if (![0, longestStart].some((before) => traced.has(`${section} ${value + before}`))) continue;
    const place = `${section} ${value}`;
    named.set(place, [...(named.get(place) ?? []), name].sort());
  }
  return [...named.values()].sort((a, b) => ((a[0] as string) < (b[0] as string) ? -1 : 1));
}

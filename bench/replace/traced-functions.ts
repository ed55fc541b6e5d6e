import { SymbolType } from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";

/** The compiler or objtool lists the place of each call of ftrace; before it there may be an ENDBR of four bytes. */
const places = "__mcount_loc";
const longestStart = 4;

/** Sections whose code is gone after it has run, or is not that of a kernel at work. */
const brief = /^\.(init|exit|head|ref|meminit|cpuinit)\.text/;

/** Names of the functions of a unit's object that ftrace can redirect, each once. */
export function tracedFunctions(content: Uint8Array): string[] {
  const elf = new ElfReader(content);
  const table = elf.section(places);
  if (table === undefined) return [];
  const traced = new Set(
    elf.relocationsFor(table.index).map(({ symbol, addend }) => {
      const base = elf.symbols[symbol];
      return `${base?.section} ${(base?.value ?? 0) + addend}`;
    }),
  );
  const names = elf.symbols
    .filter(({ type, section }) => type === SymbolType.func && !brief.test(elf.sections[section]?.name ?? ""))
    .filter(({ section, value }) => [0, longestStart].some((before) => traced.has(`${section} ${value + before}`)))
    .map(({ name }) => name);
  return [...new Set(names)].sort();
}

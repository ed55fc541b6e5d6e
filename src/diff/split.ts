import { SectionFlag, SectionType, SYM_SIZE, SymbolType } from "../elf/constants.ts";
import { lowerBound } from "../elf/debug-section.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import type { ElfSymbol, Relocation, Section, SectionIndex } from "../elf/model.ts";
import { type ElfReader, isDefined } from "../elf/reader.ts";
import type { Architecture } from "./arch/arch.ts";
import type { Atom, AtomKind } from "./atoms.ts";
import type { Descriptors } from "./descriptors.ts";
import { baseName } from "./names.ts";
import { classOf } from "./special-sections/section-classes.ts";

/** A range of a section with the symbols that lie in it. */
interface Range {
  start: number;
  end: number;
  symbols: ElfSymbol[];
}

/** How many atoms an object may have: each takes a kilobyte, and a string of two bytes is one. The largest modules of a kernel have some 200,000. */
const atomLimit = 1 << 19;

/**
 * Cuts all allocated sections but the tables into atoms: at symbols where there are any, at string ends and constant sizes in mergeable sections,
 * else at the offsets that something refers to.
 */
export function splitIntoAtoms(elf: ElfReader, arch: Architecture, descriptors: Descriptors): Atom[] {
  const symbolsIn = groupSymbols(elf, arch, descriptors);
  const sections = elf.sections.filter((section) => {
    const sectionClass = classOf(section);
    if (sectionClass === "ignored" || sectionClass === "table") return false;
    return section.size > 0 || isEmptyVariable(section, symbolsIn);
  });
  const sites = ftracePlaces(elf, arch);
  const named = new Map(
    sections.map((section) => {
      const ranges = namedRanges(section, symbolsIn.get(section.index) ?? []);
      return [section, withEntries(ranges, sites.get(section.index) ?? [])];
    }),
  );
  const cuts = referencedOffsets(elf, arch, named);
  const atoms: Atom[] = [];
  for (const section of sections) {
    for (const range of allRanges(elf, arch, section, named.get(section) as Range[], cuts.get(section.index) ?? [])) {
      if (atoms.length === atomLimit) throw tooMany(section);
      atoms.push(makeAtom(arch, section, range));
    }
  }
  return atoms;
}

function tooMany(section: Section): ElfFormatError {
  return new ElfFormatError("more functions, objects and strings than any unit has", section.offset, atomLimit);
}

/** A variable of an empty type, such as `static struct lock_class_key __key` without lockdep: it has an address that code uses, and no bytes. */
function isEmptyVariable(section: Section, symbolsIn: ReadonlyMap<SectionIndex, readonly ElfSymbol[]>): boolean {
  return (section.flags & SectionFlag.execinstr) === 0 && (symbolsIn.get(section.index)?.length ?? 0) > 0;
}

/** Symbols that can name something, by section. */
function groupSymbols(elf: ElfReader, arch: Architecture, descriptors: Descriptors): Map<SectionIndex, ElfSymbol[]> {
  const groups = new Map<SectionIndex, ElfSymbol[]>();
  for (const own of elf.symbols) {
    if (!isDefined(own) || own.type === SymbolType.section || own.type === SymbolType.file) continue;
    if (own.name === "" || own.name.startsWith(".L") || arch.isMappingSymbol(own.name)) continue;
    const symbol = descriptors.seenThrough(own);
    if (symbol.value < 0 || symbol.value > (elf.sections[symbol.section]?.size ?? 0)) {
      throw new ElfFormatError(`symbol ${own.index} lies outside of its section`, offsetOf(elf, own), symbol.value);
    }
    const list = groups.get(symbol.section);
    if (list === undefined) groups.set(symbol.section, [symbol]);
    else list.push(symbol);
  }
  return groups;
}

/** Place of a symbol table entry in the file. */
function offsetOf(elf: ElfReader, symbol: ElfSymbol): number {
  const table = elf.sections.find(({ type }) => type === SectionType.symtab);
  return (table?.offset ?? 0) + symbol.index * SYM_SIZE;
}

function isPrefix(symbol: ElfSymbol): boolean {
  return symbol.type === SymbolType.func && /^__(pfx|cfi)_/.test(symbol.name);
}

/** Ranges that symbols cover, in order; symbols inside of another's range join it, prefix symbols join the function behind them. */
function namedRanges(section: Section, symbols: readonly ElfSymbol[]): Range[] {
  const isCode = (section.flags & SectionFlag.execinstr) !== 0;
  const sized = symbols.filter((symbol) => symbol.size > 0 || !isCode);
  const labels = symbols.filter((symbol) => symbol.size === 0 && isCode);
  sized.sort((a, b) => a.value - b.value || b.size - a.size);
  const ranges: Range[] = [];
  for (const symbol of sized) {
    const last = ranges.at(-1);
    const joinsPrefix = last !== undefined && last.end === symbol.value && last.symbols.every(isPrefix);
    if (last !== undefined && (symbol.value < last.end || symbol.value === last.start || joinsPrefix)) {
      last.end = Math.max(last.end, symbol.value + symbol.size);
      last.symbols.push(symbol);
    } else {
      ranges.push({ start: symbol.value, end: symbol.value + symbol.size, symbols: [symbol] });
    }
  }
  // Labels of hand-written code: those outside of all functions begin a piece of their own. Ranges so far follow each other, and so do labels.
  const functions = ranges.length;
  let next = 0;
  for (const label of labels.sort((a, b) => a.value - b.value)) {
    while (next < functions && (ranges[next] as Range).end <= label.value) next++;
    const home = next < functions ? (ranges[next] as Range) : undefined;
    if (home !== undefined && label.value >= home.start) home.symbols.push(label);
    else ranges.push({ start: label.value, end: label.value, symbols: [label] });
  }
  ranges.sort((a, b) => a.start - b.start);
  ranges.forEach((range, at) => {
    if (range.end === range.start) range.end = ranges[at + 1]?.start ?? section.size;
    range.end = Math.min(Math.max(range.end, range.start), section.size);
  });
  return ranges;
}

/** Offsets in code sections that the compiler's lists of ftrace entries name. */
function ftracePlaces(elf: ElfReader, arch: Architecture): Map<SectionIndex, number[]> {
  const places = new Map<SectionIndex, number[]>();
  if (arch.ftraceTables.length === 0) return places;
  for (const table of elf.sections) {
    if (!arch.ftraceTables.includes(table.name)) continue;
    for (const { symbol: index, addend } of elf.relocationsFor(table.index)) {
      const symbol = elf.symbols[index];
      if (symbol === undefined || !isDefined(symbol)) continue;
      const list = places.get(symbol.section);
      if (list === undefined) places.set(symbol.section, [symbol.value + addend]);
      else list.push(symbol.value + addend);
    }
  }
  return places;
}

/**
 * Functions with the nops that `-fpatchable-function-entry=4,2` puts before their symbol: ftrace keeps a pointer there, so they move with the
 * function.
 */
function withEntries(ranges: Range[], sites: readonly number[]): Range[] {
  const sorted = [...sites].sort((a, b) => a - b);
  let next = 0;
  let end = 0;
  for (const range of ranges) {
    while (next < sorted.length && (sorted[next] as number) < end) next++;
    const site = sorted[next];
    if (site !== undefined && site < range.start) range.start = site;
    end = Math.max(end, range.end);
  }
  return ranges;
}

/** Offsets of sections that are not one named range, which something refers to through a section symbol or a label. */
function referencedOffsets(
  elf: ElfReader,
  arch: Architecture,
  named: ReadonlyMap<Section, readonly Range[]>,
): Map<SectionIndex, number[]> {
  const cuts = new Map<SectionIndex, Set<number>>();
  for (const [section, ranges] of named) if (ranges.length !== 1) cuts.set(section.index, new Set());
  if (cuts.size === 0) return new Map();
  for (const place of elf.sections) {
    if ((place.flags & SectionFlag.alloc) === 0 || place.type === SectionType.rela) continue;
    for (const relocation of elf.relocationsFor(place.index)) {
      const symbol = elf.symbols[relocation.symbol];
      if (symbol === undefined || !isDefined(symbol)) continue;
      cuts.get(symbol.section)?.add(effectiveOffset(arch, place, relocation, symbol));
    }
  }
  return new Map([...cuts].map(([index, set]) => [index, [...set].sort((a, b) => a - b)]));
}

/** Offset in the symbol's section that a relocation leads to, the processor's PC bias taken out. */
export function effectiveOffset(arch: Architecture, place: Section, relocation: Relocation, symbol: ElfSymbol): number {
  const inCode = (place.flags & SectionFlag.execinstr) !== 0;
  const inInstruction = inCode && arch.isPcRelative(relocation.type);
  const bias = inInstruction
    ? arch.instructionTail(place.data, relocation.offset, relocation.type)
    : arch.tableBias(place.name, relocation.offset);
  return symbol.value + relocation.addend + bias;
}

function allRanges(
  elf: ElfReader,
  arch: Architecture,
  section: Section,
  named: readonly Range[],
  cuts: readonly number[],
): Range[] {
  const poolEntrySize = arch.poolEntrySize(section.name);
  if (poolEntrySize !== undefined && section.type !== SectionType.nobits) return equalRanges(section, poolEntrySize);
  const only = named.length === 1 ? named[0] : undefined;
  const mergeable = (section.flags & SectionFlag.merge) !== 0 && section.type !== SectionType.nobits;
  if (only !== undefined && !mergeable) return [{ start: 0, end: section.size, symbols: only.symbols }];
  if (mergeable && (section.flags & SectionFlag.strings) !== 0) return stringRanges(section);
  if (mergeable && section.entrySize > 0) return equalRanges(section, section.entrySize);
  const relocated = Float64Array.from(elf.relocationsFor(section.index), ({ offset }) => offset).sort();
  const ranges: Range[] = [];
  let at = 0;
  for (const range of [...named, { start: section.size, end: section.size, symbols: [] }]) {
    if (range.start > at) ranges.push(...gapRanges(at, range.start, cuts, relocated, named.length === 0));
    if (range.end > range.start) ranges.push(range);
    at = Math.max(at, range.end);
  }
  return ranges;
}

/** Unnamed pieces of a gap; a gap that nothing refers to and that holds no relocation is padding. @param cuts sorted, as are the relocated offsets. */
function gapRanges(
  start: number,
  end: number,
  cuts: readonly number[],
  relocated: Float64Array,
  wholeSection: boolean,
): Range[] {
  const inside = cuts.slice(lowerBound(cuts, start), lowerBound(cuts, end));
  const filled = (relocated[lowerBound(relocated, start)] ?? end) < end;
  if (inside.length === 0 && !filled && !wholeSection) return [];
  if (inside[0] !== start) inside.unshift(start);
  return inside.map((cut, at) => ({ start: cut, end: inside[at + 1] ?? end, symbols: [] }));
}

function stringRanges(section: Section): Range[] {
  const ranges: Range[] = [];
  const unit = Math.max(1, section.entrySize);
  for (let start = 0; start < section.size; ) {
    let end = start;
    if (unit === 1) {
      const zero = section.data.indexOf(0, start);
      end = zero < 0 ? section.size : zero + 1;
    } else {
      while (end < section.size && section.data.subarray(end, end + unit).some((byte) => byte !== 0)) end += unit;
      end = Math.min(end + unit, section.size);
    }
    if (ranges.length === atomLimit) throw tooMany(section);
    ranges.push({ start, end, symbols: [] });
    start = end;
  }
  return ranges;
}

function equalRanges(section: Section, size: number): Range[] {
  if (section.size / size > atomLimit) throw tooMany(section);
  const ranges: Range[] = [];
  for (let start = 0; start < section.size; start += size) {
    ranges.push({ start, end: Math.min(start + size, section.size), symbols: [] });
  }
  return ranges;
}

function makeAtom(arch: Architecture, section: Section, range: Range): Atom {
  const symbol = namingSymbol(range.symbols);
  const name = symbol?.name ?? `${section.name}+0x${range.start.toString(16)}`;
  return {
    kind: arch.poolEntrySize(section.name) === undefined ? kindOf(section, symbol) : "constant",
    section,
    start: range.start,
    end: range.end,
    symbol,
    symbols: range.symbols,
    name,
    base: symbol === undefined ? section.name : baseName(name),
    bytes: section.data.subarray(range.start, range.end),
    references: [],
  };
}

/** The symbol that the others are aliases of, or lie in: functions and objects before labels, never a prefix, global ones first. */
function namingSymbol(symbols: readonly ElfSymbol[]): ElfSymbol | undefined {
  const rank = (symbol: ElfSymbol): number =>
    (isPrefix(symbol) ? 8 : 0) +
    // Aliases that module_init() and module_exit() make.
    (symbol.name === "init_module" || symbol.name === "cleanup_module" ? 2 : 0) +
    (symbol.type === SymbolType.notype ? 4 : 0) +
    (symbol.binding === 0 ? 1 : 0);
  if (symbols.length <= 1) return symbols[0];
  const [first, ...rest] = symbols.filter((symbol) => !isPrefix(symbol));
  if (first === undefined) return symbols[0];
  return rest.reduce(
    (best, symbol) => (symbol.value === best.value && rank(symbol) < rank(best) ? symbol : best),
    first,
  );
}

function kindOf(section: Section, symbol: ElfSymbol | undefined): AtomKind {
  if ((section.flags & SectionFlag.execinstr) !== 0) return symbol?.type === SymbolType.func ? "function" : "code";
  if (section.type === SectionType.nobits) return "bss";
  // Constants with addresses in them: the linker writes them, and nothing later.
  if (section.name.startsWith(".data.rel.ro")) return "rodata";
  if ((section.flags & SectionFlag.write) !== 0) return "data";
  if ((section.flags & SectionFlag.merge) !== 0)
    return (section.flags & SectionFlag.strings) !== 0 ? "string" : "constant";
  return "rodata";
}

import { SectionFlag, SectionType, SpecialSection } from "../elf/constants.ts";
import type { ElfSymbol, Relocation, Section, SectionIndex } from "../elf/model.ts";
import { ElfReader, isDefined } from "../elf/reader.ts";
import { KmendError } from "../support/errors.ts";
import type { Architecture } from "./arch/arch.ts";
import { architectureOf } from "./arch/index.ts";
import type { Atom, Reference, Target } from "./atoms.ts";
import { Descriptors } from "./descriptors.ts";
import { refuseBitcode, requireMachineCode } from "./machine-code.ts";
import { classOf } from "./special-sections/section-classes.ts";
import { type EntryAt, type EntrySizes, entriesByPlace, readTables, type Table } from "./special-sections/tables.ts";
import { effectiveOffset, splitIntoAtoms } from "./split.ts";

/** One compiled translation unit, cut into atoms that know what they refer to. */
export interface UnitObject {
  readonly elf: ElfReader;
  readonly arch: Architecture;
  readonly atoms: readonly Atom[];
  /** The atom that covers or is nearest before an offset of a section. */
  readonly atomAt: (section: SectionIndex, offset: number) => Atom | undefined;
  readonly atomsIn: (section: SectionIndex) => readonly Atom[];
  /** Special tables by section name. */
  readonly tables: ReadonlyMap<string, Table>;
  /** Bytes per entry of a special table as the unit has it, else as the target's types say. */
  readonly entrySizeOf: (table: string) => number | undefined;
  /** Offset in a function of its ftrace call, or undefined when ftrace cannot redirect it. */
  readonly ftraceEntry: (atom: Atom) => number | undefined;
  /** Symbols that tell code from data, by section and in order of their places. */
  readonly mappingSymbols: ReadonlyMap<SectionIndex, readonly ElfSymbol[]>;
  /** True when functions are called through descriptors (ELF V1 of 64-bit PowerPC). */
  readonly hasDescriptors: boolean;
}

/**
 * Reads a relocatable object for the diff and the match.
 * @throws ElfFormatError for a malformed one, KmendError `ARCHITECTURE` or `NOT_RELOCATABLE` for one that is not a unit of a known kernel,
 * `NO_MACHINE_CODE` for one that LTO left to the linker.
 */
export async function readUnitObject(file: Uint8Array, entrySizes: EntrySizes = {}): Promise<UnitObject> {
  refuseBitcode(file);
  const elf = new ElfReader(file);
  if (elf.header.type !== 1) {
    throw new KmendError({
      code: "NOT_RELOCATABLE",
      message: "this is not a relocatable object (.o)",
      hint: "give the object of one translation unit",
    });
  }
  requireMachineCode(elf);
  const arch = architectureOf(elf.header.machine);
  const descriptors = new Descriptors(elf);
  const atoms = splitIntoAtoms(elf, arch, descriptors);
  const bySection = new Map<SectionIndex, Atom[]>();
  for (const atom of atoms) {
    const list = bySection.get(atom.section.index);
    if (list === undefined) bySection.set(atom.section.index, [atom]);
    else list.push(atom);
  }
  const atomsIn = (section: SectionIndex): readonly Atom[] => bySection.get(section) ?? [];
  const atomAt = (section: SectionIndex, offset: number): Atom | undefined => nearestAtom(atomsIn(section), offset);
  let entryAt: EntryAt = () => undefined;
  const resolve = (place: Section, relocation: Relocation): Target =>
    resolveTarget(elf, arch, descriptors, atomAt, entryAt, place, relocation);
  const tables = readTables(elf, arch, resolve, entrySizes);
  entryAt = entriesByPlace(tables);

  for (const [index, list] of bySection) attachRelocations(elf, elf.sections[index] as Section, list, resolve);
  const mappingSymbols = groupMappingSymbols(elf, arch);
  await attachResolvedBranches(arch, elf.littleEndian, mappingSymbols, bySection);
  const sites = ftraceSites(tables);
  const ftraceEntry = (atom: Atom): number | undefined => arch.ftraceEntry(atom, sites.get(atom) ?? []);
  const entrySizeOf = (table: string): number | undefined => tables.get(table)?.entrySize ?? entrySizes[table];
  return {
    ...{ elf, arch, atoms, atomAt, atomsIn, tables, entrySizeOf, ftraceEntry, mappingSymbols },
    hasDescriptors: descriptors.exist,
  };
}

/** Places that the compiler or objtool lists for ftrace, by the function that they are in. */
function ftraceSites(tables: ReadonlyMap<string, Table>): Map<Atom, number[]> {
  const sites = new Map<Atom, number[]>();
  for (const name of ["__patchable_function_entries", "__mcount_loc"]) {
    for (const { place } of tables.get(name)?.entries ?? []) {
      if (place === undefined) continue;
      const list = sites.get(place.atom);
      if (list === undefined) sites.set(place.atom, [place.offset]);
      else list.push(place.offset);
    }
  }
  return sites;
}

/** The atom with the greatest start that is not behind `offset`; the first one for an offset before all of them. */
function nearestAtom(atoms: readonly Atom[], offset: number): Atom | undefined {
  let low = 0;
  let high = atoms.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((atoms[middle] as Atom).start <= offset) low = middle + 1;
    else high = middle;
  }
  return atoms[Math.max(0, low - 1)];
}

function resolveTarget(
  elf: ElfReader,
  arch: Architecture,
  descriptors: Descriptors,
  atomAt: UnitObject["atomAt"],
  entryAt: EntryAt,
  place: Section,
  relocation: Relocation,
): Target {
  const symbol = elf.symbols[relocation.symbol] as ElfSymbol | undefined;
  if (symbol === undefined || relocation.symbol === 0 || symbol.section === SpecialSection.abs) {
    return { kind: "absolute", addend: (symbol?.value ?? 0) + relocation.addend };
  }
  if (!isDefined(symbol)) {
    return { kind: "external", name: symbol.name, weak: symbol.binding === 2, addend: relocation.addend };
  }
  // A named symbol says itself which atom is meant; a section symbol only says where.
  const offset = symbol.type === 3 ? effectiveOffset(arch, place, relocation, symbol) : symbol.value;
  const code = descriptors.codeAt(symbol.section, offset);
  if (code.section !== symbol.section) {
    const atom = atomAt(code.section, code.offset);
    if (atom !== undefined) return { kind: "atom", atom, addend: code.offset - atom.start };
  }
  const atom = atomAt(symbol.section, offset);
  if (atom === undefined) {
    const entry = entryAt(symbol.section, offset);
    if (entry !== undefined) {
      return { kind: "entry", entry, addend: symbol.value + relocation.addend - entry.start };
    }
    const section = elf.sections[symbol.section] as Section;
    return { kind: "external", name: section.name, weak: false, addend: symbol.value + relocation.addend };
  }
  return { kind: "atom", atom, addend: symbol.value + relocation.addend - atom.start };
}

function attachRelocations(
  elf: ElfReader,
  section: Section,
  atoms: readonly Atom[],
  resolve: (place: Section, relocation: Relocation) => Target,
): void {
  const lists = new Map<Atom, Reference[]>();
  let atom = atoms[0];
  for (const relocation of elf.relocationsFor(section.index)) {
    if (atoms.length > 1) atom = nearestAtom(atoms, relocation.offset);
    if (atom === undefined || relocation.offset < atom.start || relocation.offset >= Math.max(atom.end, atom.start + 1))
      continue;
    const reference: Reference = {
      offset: relocation.offset - atom.start,
      type: relocation.type,
      target: resolve(section, relocation),
      implicit: false,
    };
    const list = lists.get(atom);
    if (list === undefined) lists.set(atom, [reference]);
    else list.push(reference);
  }
  for (const [holder, list] of lists) holder.references = inOrder(list);
}

/** Sorted by offset, which most lists are as they come. */
function inOrder(list: Reference[]): Reference[] {
  for (let at = 1; at < list.length; at++)
    if ((list[at] as Reference).offset < (list[at - 1] as Reference).offset)
      return list.sort((a, b) => a.offset - b.offset);
  return list;
}

/**
 * Functions that share a section (`.sched.text` and the like, which -ffunction-sections leaves alone) call each other without relocations.
 * Those branches become references, so that such functions can be compared and moved one by one.
 */
async function attachResolvedBranches(
  arch: Architecture,
  littleEndian: boolean,
  mappingSymbols: UnitObject["mappingSymbols"],
  bySection: ReadonlyMap<SectionIndex, readonly Atom[]>,
): Promise<void> {
  for (const atoms of bySection.values()) {
    const section = (atoms[0] as Atom).section;
    const isCode = (section.flags & SectionFlag.execinstr) !== 0;
    if (!isCode || section.type === SectionType.nobits || atoms.length < 2 || classOf(section) !== "content") continue;
    await arch.loadDisassembler();
    const marks = mappingSymbols.get(section.index) ?? [];
    const isData = (at: number): boolean => marks.findLast(({ value }) => value <= at)?.name.startsWith("$d") === true;
    for (const atom of atoms) {
      const taken = new Set(atom.references.map(({ offset }) => offset));
      const added: Reference[] = [];
      for (const branch of arch.resolvedBranches(section.data, atom.start, atom.end, littleEndian)) {
        const offset = branch.offset - atom.start;
        const target = nearestAtom(atoms, branch.target);
        const isInside = branch.target >= 0 && branch.target < section.size;
        if (taken.has(offset) || target === undefined || !isInside || isData(branch.offset)) continue;
        const addend = branch.target - target.start + branch.addend;
        added.push({ offset, type: branch.type, target: { kind: "atom", atom: target, addend }, implicit: true });
      }
      if (added.length > 0) atom.references = [...atom.references, ...added].sort((a, b) => a.offset - b.offset);
    }
  }
}

function groupMappingSymbols(elf: ElfReader, arch: Architecture): Map<SectionIndex, ElfSymbol[]> {
  const groups = new Map<SectionIndex, ElfSymbol[]>();
  for (const symbol of elf.symbols) {
    if (!isDefined(symbol) || !arch.isMappingSymbol(symbol.name)) continue;
    const list = groups.get(symbol.section);
    if (list === undefined) groups.set(symbol.section, [symbol]);
    else list.push(symbol);
  }
  for (const list of groups.values()) list.sort((a, b) => a.value - b.value);
  return groups;
}

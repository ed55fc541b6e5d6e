import { SectionFlag, SpecialSection } from "../elf/constants.ts";
import type { ElfSymbol, Relocation, Section, SectionIndex } from "../elf/model.ts";
import { ElfReader, isDefined } from "../elf/reader.ts";
import { KmendError } from "../support/errors.ts";
import type { Architecture } from "./arch/arch.ts";
import { architectureOf } from "./arch/index.ts";
import type { Atom, Reference, Target } from "./atoms.ts";
import { classOf } from "./section-classes.ts";
import { effectiveOffset, splitIntoAtoms } from "./split.ts";
import { readTables, type Table } from "./tables.ts";

/** Bytes per entry of the special tables, by section name; those that are missing are worked out from the object. */
export type EntrySizes = Readonly<Record<string, number>>;

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
}

/**
 * Reads a relocatable object for the diff and the match.
 * @throws ElfFormatError for a malformed one, KmendError `ARCHITECTURE` or `NOT_RELOCATABLE` for one that is not a unit of a known kernel.
 */
export async function readUnitObject(file: Uint8Array, entrySizes: EntrySizes = {}): Promise<UnitObject> {
  const elf = new ElfReader(file);
  if (elf.header.type !== 1) {
    throw new KmendError({
      code: "NOT_RELOCATABLE",
      message: "this is not a relocatable object (.o)",
      hint: "give the object of one translation unit",
    });
  }
  const arch = architectureOf(elf.header.machine);
  const atoms = splitIntoAtoms(elf, arch);
  const bySection = new Map<SectionIndex, Atom[]>();
  for (const atom of atoms) {
    const list = bySection.get(atom.section.index);
    if (list === undefined) bySection.set(atom.section.index, [atom]);
    else list.push(atom);
  }
  const atomsIn = (section: SectionIndex): readonly Atom[] => bySection.get(section) ?? [];
  const atomAt = (section: SectionIndex, offset: number): Atom | undefined => nearestAtom(atomsIn(section), offset);
  const resolve = (place: Section, relocation: Relocation): Target =>
    resolveTarget(elf, arch, atomAt, place, relocation);

  for (const [index, list] of bySection) attachRelocations(elf, elf.sections[index] as Section, list, resolve);
  await attachResolvedBranches(arch, bySection);
  const tables = readTables(elf, resolve, entrySizes);
  return { elf, arch, atoms, atomAt, atomsIn, tables };
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
  atomAt: UnitObject["atomAt"],
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
  const atom = atomAt(symbol.section, offset);
  if (atom === undefined) {
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
  for (const relocation of elf.relocationsFor(section.index)) {
    const atom = nearestAtom(atoms, relocation.offset);
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
  for (const [atom, list] of lists) atom.references = list.sort((a, b) => a.offset - b.offset);
}

/**
 * Functions that share a section (`.sched.text` and the like, which -ffunction-sections leaves alone) call each other without relocations.
 * Those branches become references, so that such functions can be compared and moved one by one.
 */
async function attachResolvedBranches(
  arch: Architecture,
  bySection: ReadonlyMap<SectionIndex, readonly Atom[]>,
): Promise<void> {
  for (const atoms of bySection.values()) {
    const section = (atoms[0] as Atom).section;
    const isCode = (section.flags & SectionFlag.execinstr) !== 0;
    if (!isCode || atoms.length < 2 || classOf(section) !== "content") continue;
    await arch.loadDisassembler();
    for (const atom of atoms) {
      const taken = new Set(atom.references.map(({ offset }) => offset));
      const added: Reference[] = [];
      for (const branch of arch.resolvedBranches(section.data, atom.start, atom.end)) {
        const offset = branch.offset - atom.start;
        const target = nearestAtom(atoms, branch.target);
        if (taken.has(offset) || target === undefined) continue;
        const type = branch.width === 4 ? arch.branchType : arch.shortBranchType;
        added.push({
          offset,
          type,
          target: { kind: "atom", atom: target, addend: branch.target - target.start - branch.width },
          implicit: true,
        });
      }
      if (added.length > 0) atom.references = [...atom.references, ...added].sort((a, b) => a.offset - b.offset);
    }
  }
}

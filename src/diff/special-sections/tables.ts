import { ElfFormatError } from "../../elf/format-error.ts";
import type { Relocation, Section, SectionIndex } from "../../elf/model.ts";
import type { ElfReader } from "../../elf/reader.ts";
import { KmendError } from "../../support/errors.ts";
import type { Architecture } from "../arch/arch.ts";
import type { Atom, Reference, TableEntry, Target } from "../atoms.ts";
import { classOf } from "./section-classes.ts";
import { fixedEntrySize, meaningfulTables } from "./special-sections.ts";

/** Bytes per entry of the special tables, by section name; those that are missing are worked out from the object. */
export type EntrySizes = Readonly<Record<string, number>>;

/** A section of equal entries that the kernel or its module loader reads, each about one place in the code. */
export interface Table {
  readonly section: Section;
  readonly entrySize: number;
  readonly entries: readonly TableEntry[];
}

/** Splits all special tables of an object into entries. `.orc_unwind` is read along with `.orc_unwind_ip`. */
export function readTables(
  elf: ElfReader,
  arch: Architecture,
  resolve: (place: Section, relocation: Relocation) => Target,
  entrySizes: EntrySizes,
): Map<string, Table> {
  const tables = new Map<string, Table>();
  for (const section of elf.sections) {
    const isTable = classOf(section) === "table" || arch.ftraceTables.includes(section.name);
    if (!isTable || section.size === 0 || section.name === ".orc_unwind") continue;
    if (section.data.length !== section.size) {
      throw new ElfFormatError(`table ${section.name} without content`, section.offset, section.size);
    }
    const relocations = [...elf.relocationsFor(section.index)].sort((a, b) => a.offset - b.offset);
    const entrySize = entrySizes[section.name] ?? fixedEntrySize(section.name) ?? strideOf(section, relocations);
    if (entrySize <= 0 || section.size % entrySize !== 0) {
      throw new KmendError({
        code: "TABLE_SIZE",
        message: `${section.name} has ${section.size} bytes, which is not a multiple of its ${entrySize}-byte entries`,
        why: "the object was made for another kernel than the one whose types are used",
      });
    }
    const partner = section.name === ".orc_unwind_ip" ? elf.section(".orc_unwind") : undefined;
    const entries = readEntries(section, entrySize, relocations, resolve, partner);
    const known = tables.get(section.name);
    tables.set(section.name, {
      section,
      entrySize,
      entries: known === undefined ? entries : [...known.entries, ...entries],
    });
  }
  return tables;
}

/** Size of one entry, from the distance between the relocations that stand at the same place of each entry. */
function strideOf(section: Section, relocations: readonly Relocation[]): number {
  if (section.entrySize > 1) return section.entrySize;
  const first = relocations[0];
  if (first === undefined) return section.size;
  for (const { offset } of relocations) {
    const stride = offset - first.offset;
    if (stride > 0 && section.size % stride === 0 && repeats(relocations, stride, section.size)) return stride;
  }
  return section.size;
}

function repeats(relocations: readonly Relocation[], stride: number, size: number): boolean {
  const perEntry = relocations.length / (size / stride);
  if (!Number.isInteger(perEntry)) return false;
  return relocations.every(({ offset, type }, at) => {
    const model = relocations[at % perEntry] as Relocation;
    return offset - model.offset === Math.floor(at / perEntry) * stride && type === model.type;
  });
}

function readEntries(
  section: Section,
  entrySize: number,
  relocations: readonly Relocation[],
  resolve: (place: Section, relocation: Relocation) => Target,
  partner: Section | undefined,
): TableEntry[] {
  const count = section.size / entrySize;
  const partnerSize = partner === undefined ? 0 : partner.size / count;
  if (!Number.isInteger(partnerSize)) {
    throw new KmendError({
      code: "TABLE_SIZE",
      message: `${partner?.name} does not have one entry per ${section.name} entry`,
    });
  }
  const entries: TableEntry[] = [];
  for (let number = 0, next = 0; number < count; number++) {
    const start = number * entrySize;
    const references: Reference[] = [];
    for (; next < relocations.length && (relocations[next] as Relocation).offset < start + entrySize; next++) {
      const relocation = relocations[next] as Relocation;
      references.push({
        offset: relocation.offset - start,
        type: relocation.type,
        target: resolve(section, relocation),
        implicit: false,
      });
    }
    const first = references[0];
    entries.push({
      table: section.name,
      section: section.index,
      start,
      bytes: section.data.subarray(start, start + entrySize),
      references,
      place: first?.target.kind === "atom" ? { atom: first.target.atom, offset: first.target.addend } : undefined,
      partner: partner?.data.subarray(number * partnerSize, (number + 1) * partnerSize),
    });
  }
  return entries;
}

/** The entry that begins at an offset of a section; undefined where none does. */
export type EntryAt = (section: SectionIndex, offset: number) => TableEntry | undefined;

/** Finds entries by their place in the object. */
export function entriesByPlace(tables: ReadonlyMap<string, Table>): EntryAt {
  const found = new Map<string, TableEntry>();
  for (const { entries } of tables.values())
    for (const entry of entries) found.set(`${entry.section} ${entry.start}`, entry);
  return (section, offset) => found.get(`${section} ${offset}`);
}

/**
 * Entries by the atom with their place.
 * @param names tables in the order in which their entries stand; default all.
 */
export function entriesByAtom(
  tables: ReadonlyMap<string, Table>,
  names: Iterable<string> = tables.keys(),
): Map<Atom, TableEntry[]> {
  const map = new Map<Atom, TableEntry[]>();
  for (const name of names) {
    for (const entry of tables.get(name)?.entries ?? []) {
      if (entry.place === undefined) continue;
      const list = map.get(entry.place.atom);
      if (list === undefined) map.set(entry.place.atom, [entry]);
      else list.push(entry);
    }
  }
  return map;
}

const meaningful = new WeakMap<object, ReadonlyMap<Atom, readonly TableEntry[]>>();

/** {@link entriesByAtom} of the tables whose entries change what code does; found once for a unit. */
export function meaningfulEntries(tables: ReadonlyMap<string, Table>): ReadonlyMap<Atom, readonly TableEntry[]> {
  let found = meaningful.get(tables);
  if (found === undefined) {
    found = entriesByAtom(tables, meaningfulTables);
    meaningful.set(tables, found);
  }
  return found;
}

/** What an atom refers to, and behind it what the entries about it do: a static key is often named by its jump's entry alone. */
export function* referencesOf(atom: Atom, entries: readonly TableEntry[] = []): Generator<Reference> {
  yield* atom.references;
  for (const { references } of entries) yield* references;
}

import type { Atom } from "../../src/diff/atoms.ts";
import { readUnitObject, type UnitObject } from "../../src/diff/unit-object.ts";
import { SectionFlag } from "../../src/elf/constants.ts";
import type { Section } from "../../src/elf/model.ts";

/**
 * What is different between two builds of a unit, found without the diff that is under test: sections are compared as bytes and lists of relocations, entries
 * of special tables by the section of the code that they are about.
 */
export interface ObjectDifference {
  /** Names of code and data sections that differ, or that only one build has. */
  readonly sections: ReadonlySet<string>;
  /** The build with the mutation. */
  readonly mutant: UnitObject;
}

/** Sections that tools read and the running kernel does not. */
const forTools = /^\.(debug|rela?|discard|comment|note|BTF|llvm|sframe|symtab|strtab|shstrtab|orc)/;

/** @returns what differs; an empty set of sections when the mutation changes nothing of the kernel. */
export async function objectDifference(original: Uint8Array, mutated: Uint8Array): Promise<ObjectDifference> {
  const [before, after] = [await readUnitObject(original), await readUnitObject(mutated)];
  const [left, right] = [describeSections(before), describeSections(after)];
  const names = new Set([...left.keys(), ...right.keys()]);
  return { sections: new Set([...names].filter((name) => left.get(name) !== right.get(name))), mutant: after };
}

/** A text for each section that is equal when the section is. */
function describeSections(unit: UnitObject): Map<string, string> {
  const texts = new Map<string, string>();
  const append = (name: string, text: string): void => void texts.set(name, `${texts.get(name) ?? ""}${text}\n`);
  const tables = new Set<string>(unit.tables.keys());
  for (const section of unit.elf.sections) {
    if ((section.flags & SectionFlag.alloc) === 0 || forTools.test(section.name) || tables.has(section.name)) continue;
    append(section.name, Buffer.from(section.data).toString("hex"));
    for (const { offset, type, symbol, addend } of unit.elf.relocationsFor(section.index))
      append(section.name, `${offset} ${type} ${nameOf(unit, symbol, addend)}`);
  }
  for (const { entries, section } of unit.tables.values()) {
    if (forTools.test(section.name)) continue;
    for (const { place, references, bytes, table } of entries) {
      if (place === undefined) continue;
      const targets = references.map(({ target, offset }) =>
        target.kind === "atom"
          ? `${offset} ${target.atom.section.name} ${target.atom.start + target.addend}`
          : target.kind === "external"
            ? `${offset} ${target.name} ${target.addend}`
            : `${offset} ${target.addend}`,
      );
      append(place.atom.section.name, `${table} ${Buffer.from(bytes).toString("hex")} ${targets.join(" ")}`);
    }
  }
  return texts;
}

function nameOf({ elf }: UnitObject, index: number, addend: number): string {
  const symbol = elf.symbols[index];
  const section = symbol === undefined ? undefined : (elf.sections[symbol.section] as Section | undefined);
  if (symbol === undefined || section === undefined || symbol.section === 0) return `${symbol?.name ?? ""} ${addend}`;
  // Text is compared as what it says, since its place depends on all the other text of the unit.
  if (/\.str\d/.test(section.name)) {
    const at = symbol.value + addend;
    const end = section.data.indexOf(0, Math.max(0, at));
    return JSON.stringify(Buffer.from(section.data.subarray(Math.max(0, at), end)).toString("latin1"));
  }
  // Local symbols of a section of their own are numbered anew when others come or go.
  return symbol.type === 3 ? `${section.name} ${addend}` : `${symbol.name.replaceAll(/\.\d+/g, "")} ${addend}`;
}

/** Part of another function's section that belongs to it: out of line, or a copy for some of its callers. */
const partOf = /\.(cold|part|constprop|isra)(\.|$)/;

/** Sections that functions of a unit reach: their own and those of their parts, data and what it points at, and the functions that they call. */
export function reachedSections(unit: UnitObject, functions: ReadonlySet<string>): Set<string> {
  const reached = new Set<string>();
  const queue: Atom[] = unit.atoms.filter((atom) => atom.kind === "function" && functions.has(atom.name));
  const seen = new Set<Atom>(queue);
  const roots = new Set<Atom>(queue);
  for (let atom = queue.pop(); atom !== undefined; atom = queue.pop()) {
    reached.add(atom.section.name);
    const follows = atom.kind !== "function" || roots.has(atom) || partOf.test(atom.name);
    if (!follows) continue;
    for (const { target } of atom.references) {
      if (target.kind !== "atom" || seen.has(target.atom)) continue;
      // A function that data points at is not called by the functions that read the data.
      if (atom.kind !== "function" && target.atom.kind === "function") continue;
      seen.add(target.atom);
      queue.push(target.atom);
    }
  }
  return reached;
}

import { SectionFlag } from "../elf/constants.ts";
import type { Atom } from "./atoms.ts";
import { classOf } from "./special-sections/section-classes.ts";
import type { UnitObject } from "./unit-object.ts";

/** Sections of which only what code refers to counts: pieces without a name are strings and constants there, or addresses (`.toc`, `.got`). */
const ordinary = /^\.(text|rodata|data|bss|init|exit|ref|sbss|sdata|srodata|toc|got)\b/;

/**
 * Names of sections that hold something without a name, and hold something else in the other build: tables that inline assembly makes and that a linker
 * script or a program of the build collects. Nothing refers to their rows, so no function tells of them.
 */
export function sectionsOfOtherContent(original: UnitObject, patched: UnitObject): string[] {
  const [before, after] = [contents(original), contents(patched)];
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((name) => before.get(name) !== after.get(name))
    .sort();
}

/** What is in each such section, by its name. */
function contents(unit: UnitObject): Map<string, string> {
  const found = new Map<string, string>();
  for (const atom of unit.atoms) {
    const { section, symbol } = atom;
    if (symbol !== undefined || (section.flags & SectionFlag.alloc) === 0) continue;
    // Code without a name is what a branch leads to, or nothing that runs.
    if ((section.flags & SectionFlag.execinstr) !== 0) continue;
    if (classOf(section) !== "content" || ordinary.test(section.name)) continue;
    found.set(section.name, `${found.get(section.name) ?? ""}${describe(atom)}\n`);
  }
  return found;
}

/** Places in code move with it: what they are is told by the function, not by the distance. */
function describe({ bytes, references }: Atom): string {
  const places = references.map(({ offset, type, target }) => {
    if (target.kind === "external") return `${offset} ${type} ${target.name}+${target.addend}`;
    if (target.kind === "absolute") return `${offset} ${type} ${target.addend}`;
    if (target.kind === "entry") return `${offset} ${type} ${target.entry.table}`;
    const { atom, addend } = target;
    return `${offset} ${type} ${atom.symbol === undefined ? atom.section.name : atom.base}${atom.kind === "function" ? "" : `+${addend}`}`;
  });
  return `${Buffer.from(bytes).toString("hex")} ${places.join(", ")}`;
}

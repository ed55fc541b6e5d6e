import { type DebugEntry, DebugTag, readDebugEntries } from "../elf/debug-entries.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import type { UnitObject } from "./unit-object.ts";

const known = new WeakMap<UnitObject, ReadonlyMap<string, ReadonlySet<string>>>();

/**
 * Which functions of the source the compiler has put into each function of an object, at any depth (DWARF 5, 3.3.8.2: inlined instances).
 * @returns by name in the source; empty where there is no debug information, or none that can be read.
 */
export function inlinedFunctions(unit: UnitObject): ReadonlyMap<string, ReadonlySet<string>> {
  let found = known.get(unit);
  if (found === undefined) {
    found = readInlined(unit);
    known.set(unit, found);
  }
  return found;
}

function readInlined(unit: UnitObject): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  let entries: ReadonlyMap<number, DebugEntry>;
  try {
    entries = readDebugEntries(unit.elf);
  } catch (error) {
    if (error instanceof ElfFormatError) return found;
    throw error;
  }
  for (const entry of entries.values()) {
    if (entry.tag !== DebugTag.inlinedSubroutine) continue;
    const name = nameOf(entry, entries);
    const holder = holderOf(entry, entries);
    if (name === undefined || holder === undefined) continue;
    const names = found.get(holder);
    if (names === undefined) found.set(holder, new Set([name]));
    else names.add(name);
  }
  return found;
}

/** How many entries may name each other as their origin; damaged ones may go on for ever. */
const longestChain = 16;

function nameOf(entry: DebugEntry, entries: ReadonlyMap<number, DebugEntry>): string | undefined {
  let declared = entry;
  for (let step = 0; step < longestChain && declared.origin !== undefined; step++)
    declared = entries.get(declared.origin) ?? declared;
  return declared.name === "" ? undefined : declared.name;
}

function holderOf(entry: DebugEntry, entries: ReadonlyMap<number, DebugEntry>): string | undefined {
  for (let above = entry.parent; above !== undefined; above = above.parent)
    if (above.tag === DebugTag.subprogram) return nameOf(above, entries);
  return undefined;
}

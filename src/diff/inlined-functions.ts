import { type DebugEntry, DebugTag } from "../elf/debug-entry.ts";
import { above, originOf, readableEntries } from "./debug-origins.ts";
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
  const entries = readableEntries(unit.elf);
  const nameOf = (entry: DebugEntry | undefined): string => (entry === undefined ? "" : originOf(entry, entries).name);
  for (const entry of entries.values()) {
    if (entry.tag !== DebugTag.inlinedSubroutine) continue;
    const [name, holder] = [nameOf(entry), nameOf(above(entry, [DebugTag.subprogram]))];
    if (name === "" || holder === "") continue;
    const names = found.get(holder);
    if (names === undefined) found.set(holder, new Set([name]));
    else names.add(name);
  }
  return found;
}

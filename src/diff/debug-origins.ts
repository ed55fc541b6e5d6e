import { readDebugEntries } from "../elf/debug-entries.ts";
import type { DebugEntry } from "../elf/debug-entry.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import type { ElfReader } from "../elf/reader.ts";

export type DebugEntries = ReadonlyMap<number, DebugEntry>;

/** The entries of an object; none where it has no debug information, or none that can be read. */
export function readableEntries(elf: ElfReader): DebugEntries {
  try {
    return readDebugEntries(elf);
  } catch (error) {
    if (error instanceof ElfFormatError) return new Map();
    throw error;
  }
}

/** How many entries may name each other; damaged ones may go on for ever. */
const longestChain = 16;

/** The declaration that an entry is an instance of (DWARF 5, 3.3.8.2: a concrete instance names its abstract origin); itself where it is none. */
export function originOf(entry: DebugEntry, entries: DebugEntries): DebugEntry {
  let declared = entry;
  for (let step = 0; step < longestChain && declared.origin !== undefined; step++)
    declared = entries.get(declared.origin) ?? declared;
  return declared;
}

/** The nearest entry above of one of some tags. */
export function above(entry: DebugEntry, tags: readonly number[]): DebugEntry | undefined {
  let holder = entry.parent;
  while (holder !== undefined && !tags.includes(holder.tag)) holder = holder.parent;
  return holder;
}

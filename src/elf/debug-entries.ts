import { EntryDecoder } from "./debug-decoder.ts";
import type { DebugEntry } from "./debug-entry.ts";
import { entryLimit } from "./debug-limits.ts";
import { debugContent } from "./debug-section.ts";
import { ElfFormatError } from "./format-error.ts";
import type { ElfReader } from "./reader.ts";

/**
 * All entries of the debug information of a relocatable object, versions 2 to 5 of DWARF (chapter 7.5).
 * @returns by offset; empty without debug information.
 * @throws ElfFormatError for damaged information, and for forms that compilers of kernels do not use.
 */
export function readDebugEntries(elf: ElfReader, limit = entryLimit): Map<number, DebugEntry> {
  const entries = new Map<number, DebugEntry>();
  for (const section of elf.sections) {
    if (section.name === ".debug_info")
      readSection(new EntryDecoder(elf, section.index, debugContent(elf, section)), entries, limit);
  }
  return entries;
}

function readSection(decoder: EntryDecoder, entries: Map<number, DebugEntry>, limit: number): void {
  for (const unit of decoder.units()) {
    let parent: DebugEntry | undefined;
    decoder.at = unit.first;
    while (decoder.at < unit.end) {
      const offset = decoder.at;
      const code = decoder.code();
      if (code === 0) {
        parent = parent?.parent;
        continue;
      }
      const abbreviation = unit.abbreviations.get(code);
      if (abbreviation === undefined) throw new ElfFormatError("unknown abbreviation", offset, code);
      const entry = decoder.entry(unit, offset, abbreviation, parent);
      parent?.children.push(entry);
      entries.set(offset, entry);
      if (entries.size > limit)
        throw new ElfFormatError("more debug information than any unit has", offset, entries.size);
      if (abbreviation.hasChildren) parent = entry;
    }
  }
}

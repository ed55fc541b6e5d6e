import type { Abbreviation } from "./debug-abbreviations.ts";
import { type DebugUnit, EntryDecoder } from "./debug-decoder.ts";
import { type DebugEntry, DebugTag } from "./debug-entry.ts";
import { entryLimit } from "./debug-limits.ts";
import { debugContent } from "./debug-section.ts";
import { ElfFormatError } from "./format-error.ts";
import type { SectionIndex } from "./model.ts";
import { type ElfReader, isDefined } from "./reader.ts";

/** A static variable of a function, as debug information tells of it. */
export interface StaticVariable {
  /** Where it is. */
  readonly section: SectionIndex;
  readonly offset: number;
  /** The function of the source that declares it; one that was inlined everywhere is named too. */
  readonly scope: string;
  /** Line of the declaration in the file that has it; undefined when the compiler does not tell. */
  readonly line: number | undefined;
  /** Name of its struct, that of the elements for an array; undefined for anything else. */
  readonly struct: string | undefined;
}

/**
 * Static variables that are declared in functions (DWARF 5, 3.3.8.2: a concrete instance names its abstract origin). Of all other entries no more is
 * read than their length, since most of the debug information of a unit is about types.
 * @returns none without debug information, and with several sections of it (COMDAT groups of types), in which a place would not be one place.
 * @throws ElfFormatError for damaged information, and for forms that compilers of kernels do not use.
 */
export function readStaticVariables(elf: ElfReader): StaticVariable[] {
  const [section, more] = elf.sections.filter(({ name }) => name === ".debug_info");
  if (section === undefined || more !== undefined) return [];
  return new VariableReader(new EntryDecoder(elf, section.index, debugContent(elf, section))).run();
}

/** DW_AT_location. */
const locationAttribute = 0x02;

/** Entries in which no variable is declared. */
const types: ReadonlySet<number> = new Set([
  DebugTag.structure,
  DebugTag.union,
  DebugTag.enumeration,
  DebugTag.subroutineType,
  DebugTag.array,
]);

/** What stands between a variable and its struct. */
const passing: ReadonlySet<number> = new Set([
  DebugTag.typedef,
  DebugTag.const,
  DebugTag.volatile,
  DebugTag.atomic,
  DebugTag.array,
]);

/** How many entries may name each other; damaged ones may go on for ever. */
const longestChain = 16;

class VariableReader {
  readonly #decoder: EntryDecoder;
  readonly #units: DebugUnit[];
  /** By variable in a function, the innermost entry of a function around it. */
  readonly #holders = new Map<number, number>();
  #count = 0;

  constructor(decoder: EntryDecoder) {
    this.#decoder = decoder;
    this.#units = [...decoder.units()];
  }

  run(): StaticVariable[] {
    const found = this.#units.flatMap((unit) => this.#variablesOf(unit));
    return found.flatMap((variable) => this.#describe(variable) ?? []);
  }

  /** Variables that have an address. */
  #variablesOf(unit: DebugUnit): DebugEntry[] {
    const decoder = this.#decoder;
    const found: DebugEntry[] = [];
    /** For each entry around this one, the function that it is in, 0 for none. */
    const above: number[] = [];
    let holder = 0;
    decoder.at = unit.first;
    while (decoder.at < unit.end) {
      const offset = decoder.at;
      const code = decoder.code();
      if (code === 0) {
        holder = above.pop() ?? 0;
        continue;
      }
      const abbreviation = unit.abbreviations.get(code);
      if (abbreviation === undefined) throw new ElfFormatError("unknown abbreviation", offset, code);
      if (++this.#count > entryLimit)
        throw new ElfFormatError("more debug information than any unit has", offset, this.#count);
      const { tag, hasChildren } = abbreviation;
      let sibling: number | undefined;
      if (offset === unit.first) decoder.entry(unit, offset, abbreviation, undefined);
      else if (tag === DebugTag.variable) {
        if (holder !== 0) this.#holders.set(offset, holder);
        if (hasLocation(abbreviation)) {
          const entry = decoder.entry(unit, offset, abbreviation, undefined);
          if (entry.addressAt !== undefined) found.push(entry);
        } else decoder.skip(unit, abbreviation);
      } else sibling = decoder.skip(unit, abbreviation);
      if (!hasChildren) continue;
      if (sibling !== undefined && types.has(tag)) {
        if (sibling <= decoder.at || sibling > unit.end)
          throw new ElfFormatError("debug information goes back", offset, sibling);
        decoder.at = sibling;
        continue;
      }
      above.push(holder);
      if (tag === DebugTag.subprogram || tag === DebugTag.inlinedSubroutine) holder = offset;
    }
    return found;
  }

  #describe(variable: DebugEntry): StaticVariable | undefined {
    const declared = this.#originOf(variable);
    const holder = this.#entryAt(this.#holders.get(declared.offset));
    const place = variable.addressAt === undefined ? undefined : this.#decoder.numbers.symbolAt(variable.addressAt);
    if (holder === undefined || place === undefined || !isDefined(place.symbol)) return undefined;
    return {
      section: place.symbol.section,
      offset: place.symbol.value + place.addend,
      scope: this.#originOf(holder).name,
      line: declared.line,
      struct: this.#structOf(declared),
    };
  }

  #originOf(entry: DebugEntry): DebugEntry {
    let declared = entry;
    for (let step = 0; step < longestChain && declared.origin !== undefined; step++)
      declared = this.#entryAt(declared.origin) ?? declared;
    return declared;
  }

  #structOf({ type }: DebugEntry): string | undefined {
    let entry = this.#entryAt(type);
    for (let step = 0; step < longestChain && entry !== undefined && passing.has(entry.tag); step++)
      entry = this.#entryAt(entry.type);
    return entry?.tag === DebugTag.structure ? entry.name : undefined;
  }

  #entryAt(offset: number | undefined): DebugEntry | undefined {
    if (offset === undefined) return undefined;
    const unit = this.#units.find(({ first, end }) => offset >= first && offset < end);
    return unit === undefined ? undefined : this.#decoder.entryAt(unit, offset);
  }
}

function hasLocation({ fields }: Abbreviation): boolean {
  for (let at = 0; at < fields.length; at += 3) if (fields[at] === locationAttribute) return true;
  return false;
}

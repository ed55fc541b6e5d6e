import { type DebugEntry, DebugTag } from "../elf/debug-entries.ts";
import { isDefined } from "../elf/reader.ts";
import type { Atom } from "./atoms.ts";
import { above, type DebugEntries, longestChain, originOf, readableEntries } from "./debug-origins.ts";
import type { UnitObject } from "./unit-object.ts";

/** Where a static variable of a function is declared. */
export interface StaticLocal {
  /** The function of the source; one that was inlined everywhere is named too. */
  readonly scope: string;
  /** Line of the declaration in the file that has it; undefined when the compiler does not tell. */
  readonly line: number | undefined;
  /** Name of its struct, that of the elements for an array; undefined for anything else. */
  readonly struct: string | undefined;
}

const known = new WeakMap<UnitObject, ReadonlyMap<Atom, StaticLocal>>();

/**
 * Static variables that are declared in functions, from the debug information (DWARF 5, 3.3.8.2: a concrete instance names its abstract origin).
 * @returns none where there is no debug information, or none that can be read.
 */
export function staticLocalsOf(unit: UnitObject): ReadonlyMap<Atom, StaticLocal> {
  let locals = known.get(unit);
  if (locals === undefined) {
    locals = readStaticLocals(unit);
    known.set(unit, locals);
  }
  return locals;
}

function readStaticLocals(unit: UnitObject): Map<Atom, StaticLocal> {
  const locals = new Map<Atom, StaticLocal>();
  const entries = readableEntries(unit.elf);
  const atomOf = atomsByPlace(unit);
  for (const entry of entries.values()) {
    if (entry.tag !== DebugTag.variable || entry.addressAt === undefined) continue;
    const declared = originOf(entry, entries);
    const scope = scopeOf(declared, entries);
    const atom = atomOf(entry.addressAt);
    if (scope !== undefined && atom !== undefined)
      locals.set(atom, { scope, line: declared.line, struct: structOf(declared, entries) });
  }
  return locals;
}

/** What stands between a variable and its struct. */
const passing: ReadonlySet<number> = new Set([
  DebugTag.typedef,
  DebugTag.const,
  DebugTag.volatile,
  DebugTag.atomic,
  DebugTag.array,
]);

function structOf({ type }: DebugEntry, entries: DebugEntries): string | undefined {
  let entry = type === undefined ? undefined : entries.get(type);
  for (let step = 0; step < longestChain && entry !== undefined && passing.has(entry.tag); step++)
    entry = entry.type === undefined ? undefined : entries.get(entry.type);
  return entry?.tag === DebugTag.structure ? entry.name : undefined;
}

/** The function of the source, which an inlined instance names too. */
function scopeOf(entry: DebugEntry, entries: DebugEntries): string | undefined {
  const holder = above(entry, [DebugTag.subprogram, DebugTag.inlinedSubroutine]);
  return holder === undefined ? undefined : originOf(holder, entries).name;
}

/** Finds the atom whose address a place of `.debug_info` holds. */
function atomsByPlace(unit: UnitObject): (place: number) => Atom | undefined {
  const info = unit.elf.sections.filter(({ name }) => name === ".debug_info");
  // With several (COMDAT groups of types), a place would not be one place.
  if (info.length !== 1) return () => undefined;
  const relocations = new Map(
    info.flatMap(({ index }) => unit.elf.relocationsFor(index).map((relocation) => [relocation.offset, relocation])),
  );
  return (place) => {
    const relocation = relocations.get(place);
    const symbol = relocation === undefined ? undefined : unit.elf.symbols[relocation.symbol];
    if (relocation === undefined || symbol === undefined || !isDefined(symbol)) return undefined;
    const offset = symbol.value + relocation.addend;
    const atom = unit.atomAt(symbol.section, offset);
    return atom?.start === offset ? atom : undefined;
  };
}

import { Binding, SymbolType } from "../elf/constants.ts";
import type { ElfReader } from "../elf/reader.ts";
import type { Atom } from "./atoms.ts";
import { coldParent } from "./names.ts";
import type { UnitObject } from "./unit-object.ts";

/** Which source a local symbol is of, in an object that `ld -r` made of several: by the symbol's number, the number of the source. */
export interface SourceFiles {
  readonly count: number;
  /** Names of the sources; the first is at number 1. */
  readonly names: readonly string[];
  readonly numberOf: ReadonlyMap<number, number>;
}

const known = new WeakMap<ElfReader, SourceFiles>();

/** Local symbols stand behind the STT_FILE symbol of their source (gABI chapter 4, "Symbol Table"). */
export function filesOf(elf: ElfReader): SourceFiles {
  const earlier = known.get(elf);
  if (earlier !== undefined) return earlier;
  const numberOf = new Map<number, number>();
  const names = [""];
  for (const symbol of elf.symbols) {
    if (symbol.binding !== Binding.local) break;
    if (symbol.type === SymbolType.file) names.push(symbol.name);
    else numberOf.set(symbol.index, names.length - 1);
  }
  const files = { count: names.length - 1, names, numberOf };
  known.set(elf, files);
  return files;
}

/** Number of the source that a local symbol is of; undefined for a global one, whose name says enough. */
export function sourceOf({ elf }: Pick<UnitObject, "elf">, { symbol }: Atom): number | undefined {
  return symbol === undefined ? undefined : filesOf(elf).numberOf.get(symbol.index);
}

/** Finds functions by name where several sources may have static ones of one name. */
export class ColdParts {
  readonly #unit: UnitObject;
  readonly #functions = new Map<string, Atom>();

  constructor(unit: UnitObject) {
    this.#unit = unit;
    for (const atom of unit.atoms)
      if (atom.kind === "function") this.#functions.set(`${sourceOf(unit, atom) ?? ""} ${atom.name}`, atom);
  }

  /** The function that an atom is the cold part of; undefined for what is none. */
  ownerOf(atom: Atom): Atom | undefined {
    const name = coldParent(atom.name);
    if (name === undefined) return undefined;
    return this.#functions.get(`${sourceOf(this.#unit, atom) ?? ""} ${name}`) ?? this.#functions.get(` ${name}`);
  }
}

import type { Atom } from "../diff/atoms.ts";
import { isSpecialStatic } from "../diff/names.ts";
import { filesOf, sourceOf } from "../diff/source-files.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import type { ElfSymbol } from "../elf/model.ts";
import type { Proof } from "./match-unit.ts";
import type { ListedSymbol } from "./symbol-table.ts";
import type { TargetObject, TargetSymbol } from "./target-object.ts";

/** A target of which only a symbol table is known: names and positions, no code to compare with. */
export class ListedObject implements TargetObject {
  readonly name: string;
  readonly source: string;
  readonly #byName = new Map<string, TargetSymbol[]>();
  readonly #byAddress = new Map<number, TargetSymbol[]>();

  constructor(name: string, symbols: readonly ListedSymbol[], source: string) {
    this.name = name;
    this.source = source;
    const real = symbols.filter(({ isFile }) => !isFile);
    // The kernel counts symbols of vmlinux by address and those of a module in the order of its symbol table.
    const ordered = name === "vmlinux" ? [...real].sort((a, b) => a.address - b.address) : real;
    const totals = new Map<string, number>();
    for (const symbol of ordered) totals.set(symbol.name, (totals.get(symbol.name) ?? 0) + 1);
    for (const symbol of ordered) {
      const list = this.#byName.get(symbol.name) ?? [];
      const entry = {
        name: symbol.name,
        address: symbol.address,
        sympos: totals.get(symbol.name) === 1 ? 0 : list.length + 1,
        binding: symbol.isGlobal ? ("global" as const) : ("local" as const),
      };
      list.push(entry);
      this.#byName.set(symbol.name, list);
      const here = this.#byAddress.get(symbol.address);
      if (here === undefined) this.#byAddress.set(symbol.address, [entry]);
      else here.push(entry);
    }
  }

  symbolsNamed(name: string): readonly TargetSymbol[] {
    return this.#byName.get(name) ?? [];
  }

  symbolsAt(address: number): readonly TargetSymbol[] {
    return this.#byAddress.get(address) ?? [];
  }

  roomAt(): undefined {
    return undefined;
  }

  bytesAt(): undefined {
    return undefined;
  }

  valueAt(): undefined {
    return undefined;
  }
}

/** What stands for an address where a unit's own symbols stand for those of the kernel: ordered by section and place. */
export function ownAddress({ section, value }: ElfSymbol): number {
  return section * 2 ** 32 + value;
}

/**
 * What a symbol table alone shows about a unit: global symbols by name; local ones by the block of the table that belongs to the unit's source file,
 * when exactly one block of that file name has the same local functions and variables. Code is not compared, so nothing is proven by bytes.
 * @param isOwn true when the symbols are the unit's own ({@link ownAddress}).
 */
export function listedProof(
  unit: UnitObject,
  target: ListedObject,
  symbols: readonly ListedSymbol[],
  isOwn = false,
): Proof {
  const blockFor = blocksOf(unit, symbols);
  const globals = new Map(symbols.filter(({ isGlobal }) => isGlobal).map((symbol) => [symbol.name, symbol.address]));
  const addressOf = (atom: Atom): number | undefined => {
    if (atom.symbol === undefined) return undefined;
    // The symbol as the object has it: atoms see through function descriptors.
    if (isOwn) return ownAddress(unit.elf.symbols[atom.symbol.index] ?? atom.symbol);
    if (atom.symbol.binding !== 0) return globals.get(atom.name);
    const named = target.symbolsNamed(atom.name);
    return blockFor(atom)?.get(atom.name) ?? (named.length === 1 ? (named[0] as TargetSymbol).address : undefined);
  };
  const functions = unit.atoms.filter(({ kind }) => kind === "function");
  return {
    target,
    addressOf,
    valueOf: (external) => {
      const address = globals.get(external);
      return address === undefined ? undefined : { kind: "address", address };
    },
    isMatched: (atom) => addressOf(atom) !== undefined,
    mismatchOf: (atom) =>
      addressOf(atom) === undefined ? { offset: 0, text: `no single symbol ${atom.name} fits` } : undefined,
    reachProblem: () => undefined,
    recordOf: async () => undefined,
    owns: (atom) => unit.atoms.includes(atom),
    matchedCount: functions.filter((atom) => addressOf(atom) !== undefined).length,
    functionCount: functions.length,
  };
}

/** For each source of the unit, the local symbols of the one block of its name that has all its names. */
function blocksOf(unit: UnitObject, symbols: readonly ListedSymbol[]): (atom: Atom) => Map<string, number> | undefined {
  const files = filesOf(unit.elf).names;
  const wanted = new Map<number, string[]>();
  for (const atom of unit.atoms) {
    const source = sourceOf(unit, atom);
    if (source === undefined || atom.symbol?.binding !== 0 || !isStable(atom.name)) continue;
    const names = wanted.get(source);
    if (names === undefined) wanted.set(source, [atom.name]);
    else names.push(atom.name);
  }
  const blocks = files.map((name, source) => blockOf(name, wanted.get(source) ?? [], symbols));
  return (atom) => blocks[sourceOf(unit, atom) ?? 0];
}

/** Local symbols of the one block of a file whose names are those of a source. */
function blockOf(
  name: string,
  wanted: readonly string[],
  symbols: readonly ListedSymbol[],
): Map<string, number> | undefined {
  const fitting: Map<string, number>[] = [];
  for (let at = 0; at < symbols.length; at++) {
    const file = symbols[at] as ListedSymbol;
    if (!file.isFile || file.name !== name) continue;
    const block = new Map<string, number>();
    for (let next = at + 1; next < symbols.length; next++) {
      const symbol = symbols[next] as ListedSymbol;
      if (symbol.isFile || symbol.isGlobal) break;
      block.set(symbol.name, symbol.address);
    }
    if (wanted.every((each) => block.has(each))) fitting.push(block);
  }
  return fitting.length === 1 ? fitting[0] : undefined;
}

/** Names that the final link of a kernel keeps as they are. */
function isStable(name: string): boolean {
  return (
    !isSpecialStatic(name) &&
    !/^(__UNIQUE_ID_|__initcall|__exitcall_|__addressable_|__func_stack_frame_non_standard|\.L)/.test(name)
  );
}

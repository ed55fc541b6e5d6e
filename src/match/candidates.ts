import type { Atom } from "../diff/atoms.ts";
import { formatAddress } from "../elf/bytes.ts";
import type { TargetObject, TargetSymbol } from "./target-object.ts";

/** Addresses of the symbols with the atom's name; for a numbered name that is missing, see {@link renumberedCandidates}. */
export function candidatesOf(target: TargetObject, atom: Atom): number[] {
  const exact = target.symbolsNamed(atom.name);
  return exact.length > 0 ? addresses(exact) : renumberedCandidates(target, atom);
}

/** Compilers number clones and statics anew in every build: addresses of the symbols with neighbouring numbers. */
export function renumberedCandidates(target: TargetObject, atom: Atom): number[] {
  return atom.base === atom.name ? [] : addresses(renumbered(target, atom.name));
}

function addresses(symbols: readonly TargetSymbol[]): number[] {
  return [...new Set(symbols.map(({ address }) => address))];
}

/** How far the number of a clone or a static is looked for beside the one that this compiler chose. */
const renumberRange = 64;

function renumbered(target: TargetObject, name: string): TargetSymbol[] {
  const match = /^(.*\.)(\d+)((?:\.[a-z]+)*)$/.exec(name);
  if (match === null) return [];
  const [, head, number, tail] = match as unknown as [string, string, string, string];
  const found: TargetSymbol[] = [];
  for (let other = Math.max(0, Number(number) - renumberRange); other <= Number(number) + renumberRange; other++) {
    found.push(...target.symbolsNamed(`${head}${other}${tail}`));
  }
  return found;
}

/** Names at an address, for a message. */
export function describeAddress(target: TargetObject, address: number): string {
  const names = target.symbolsAt(address).map(({ name }) => name);
  return names.length > 0 ? names.join("/") : formatAddress(address);
}

import type { Atom } from "../diff/atoms.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import { formatAddress } from "../elf/bytes.ts";
import { Binding } from "../elf/constants.ts";
import type { Mismatch } from "./findings.ts";
import type { TargetObject } from "./target-object.ts";

/** A function that was found equal, at its address in the target. */
export interface PlacedFunction {
  readonly atom: Atom;
  readonly address: number;
}

/**
 * Functions whose equals in the target lie outside of the unit they belong to. A linker keeps the text of a unit together, section by section, so no other
 * unit's symbols lie between two of its functions: equal code elsewhere is another unit's function of the same name (a static twin; the strong version of
 * a weak one). Kernels that are linked function by function (profile-guided layouts) do not keep this; it counts where it holds for the strong global
 * functions of the unit, which cannot be mistaken, or for most of the others.
 */
export function misplaced(
  unit: UnitObject,
  placed: readonly PlacedFunction[],
  target: TargetObject,
): readonly PlacedFunction[] {
  if (target.namesBetween === undefined) return [];
  const own = new Set(unit.elf.symbols.map(({ name }) => stem(name)));
  const groups = new Map<string, PlacedFunction[]>();
  for (const { atom, address } of placed) {
    const shipped = target.shippedAt?.(address)?.address ?? address;
    const key = outputOf(atom.section.name);
    const list = groups.get(key);
    if (list === undefined) groups.set(key, [{ atom, address: shipped }]);
    else list.push({ atom, address: shipped });
  }
  return [...groups.values()].flatMap((group) => outside(clusters(group, own, target)));
}

/** Why equal code at an address is not the function that was looked for. */
export function inAnotherUnit(address: number): Mismatch {
  const text = `equal code is at ${formatAddress(address)}, and symbols that this unit does not have lie between it and the unit's other functions: it is another unit's`;
  return { offset: 0, text };
}

/** Neighbours without a foreign symbol between them. */
function clusters(
  group: readonly PlacedFunction[],
  own: ReadonlySet<string>,
  target: TargetObject,
): PlacedFunction[][] {
  const ascending = [...group].sort((a, b) => a.address - b.address);
  const found: PlacedFunction[][] = [];
  for (const place of ascending) {
    const last = found.at(-1);
    const before = last?.at(-1);
    if (before !== undefined && isTogether(before, place, own, target)) last?.push(place);
    else found.push([place]);
  }
  return found;
}

function isTogether(a: PlacedFunction, b: PlacedFunction, own: ReadonlySet<string>, target: TargetObject): boolean {
  for (const name of target.namesBetween?.(a.address, b.address) ?? []) if (!own.has(stem(name))) return false;
  return true;
}

function outside(parts: readonly PlacedFunction[][]): PlacedFunction[] {
  if (parts.length < 2) return [];
  const anchored = parts.filter((part) => part.some(({ atom }) => atom.symbol?.binding === Binding.global));
  const all = parts.reduce((sum, part) => sum + part.length, 0);
  const home = anchored.length === 0 ? parts.find((part) => part.length * 2 > all) : anchored[0];
  return anchored.length > 1 || home === undefined ? [] : parts.filter((part) => part !== home).flat();
}

/** The section of the shipped object that a function of an object with function sections is in: `.text` for `.text.f`, `.text.unlikely` for `.text.unlikely.f`. */
function outputOf(section: string): string {
  return /^(\.text\.(?:unlikely|hot|startup|exit)|\.text)(?:\.|$)/.exec(section)?.[1] ?? section;
}

/** A name without what compilers and padding add to it. */
function stem(name: string): string {
  return (name.replace(/^__(pfx|cfi)_/, "").split(".")[0] as string) || name;
}

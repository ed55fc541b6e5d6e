import type { Atom } from "../diff/atoms.ts";
import { baseName } from "../diff/names.ts";
import { Binding } from "../elf/constants.ts";
import type { ElfSymbol } from "../elf/model.ts";
import type { Mismatch } from "./findings.ts";
import type { SymbolBinding, TargetObject, TargetSymbol } from "./target-object.ts";

/** What the linker could mean by a name in a unit that does not define it. */
export interface LinkerName {
  /** Global and weak symbols, or when there are none, those of which the symbol table does not tell whether they are static. */
  readonly visible: readonly TargetSymbol[];
  /** True when nothing shows whether the symbols of {@link visible} are static. */
  readonly isOpen: boolean;
  /** Symbols of that name that are static in other units. */
  readonly hidden: readonly TargetSymbol[];
}

/** Sorts the symbols of a name by who may refer to them. */
export function linkerName(name: string, target: TargetObject): LinkerName {
  const named = target.symbolsNamed(name);
  const hidden = named.filter(({ binding }) => binding === "local");
  const told = named.filter(({ binding }) => binding === "global" || binding === "weak");
  if (told.length > 0) return { visible: told, isOpen: false, hidden };
  const open = named.filter(({ binding }) => binding === undefined);
  return { visible: open, isOpen: open.length > 0, hidden };
}

/**
 * Why the symbol of an atom's name at an address is another unit's, whatever the two hold: a static stays static, and a weak symbol of which another unit has
 * a strong definition is not in the kernel (its code is, without a name).
 */
export function anotherSymbol(atom: Atom, address: number, target: TargetObject): Mismatch | undefined {
  const named = target.symbolsAt(address).filter(({ name }) => baseName(name) === atom.base);
  const { symbol } = atom;
  if (symbol === undefined || named.length === 0 || named.some((other) => isBoundAs(symbol, other))) return undefined;
  const theirs = named[0]?.binding;
  const text =
    symbol.binding === Binding.weak && theirs === "global"
      ? `${atom.name} is weak here, and the strong one of another unit is in force`
      : `${atom.name} is ${bindingOf(symbol.binding)} here, and the one in the target is ${theirs}`;
  return { offset: 0, text };
}

function isBoundAs(symbol: ElfSymbol, { binding }: TargetSymbol): boolean {
  // The linker makes hidden symbols local (gABI chapter 4, "Symbol Visibility").
  const isHidden = (symbol.other & 3) !== 0 && binding === "local";
  return binding === undefined || isHidden || binding === bindingOf(symbol.binding);
}

function bindingOf(binding: number): SymbolBinding {
  if (binding === Binding.local) return "local";
  return binding === Binding.weak ? "weak" : "global";
}

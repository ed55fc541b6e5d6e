import { SymbolType } from "../elf/constants.ts";
import type { Atom } from "./atoms.ts";
import { type Correlation, isWritable } from "./correlate.ts";
import { isPercpu, isReadOnlyAfterBoot } from "./special-sections/section-classes.ts";
import type { UnitObject } from "./unit-object.ts";

/** True when the two declarations mean different kinds of memory: `const` or `__ro_after_init` was dropped, per-CPU was added or dropped. */
export function isElsewhere(before: Atom, after: Atom): boolean {
  const [from, to] = [before.section.name, after.section.name];
  const becomesWritable = isReadOnlyAfterBoot(from) && isWritable(after) && !isReadOnlyAfterBoot(to);
  return becomesWritable || isPercpu(from) !== isPercpu(to);
}

/**
 * Alignments, in bytes, of a variable or constant that has a greater one with the patch and is otherwise as large as before: the compiler may count on it in any
 * code that uses its address, and the running kernel has put it where the old one allows. The alignment of a section is that of all in it: where something new
 * may have raised it, nothing is known of the others.
 */
export function raisedAlignment(
  before: Atom,
  after: Atom,
  patched: Pick<UnitObject, "atomsIn">,
  { originalOf }: Pick<Correlation, "originalOf">,
): { readonly from: string; readonly to: string } | undefined {
  const [from, to] = [before.section.alignment, after.section.alignment];
  const isNamed = after.symbol !== undefined && after.symbol.type !== SymbolType.section;
  const isSame = before.end - before.start === after.end - after.start;
  if (to <= from || !isNamed || !isSame || after.start % to !== 0) return undefined;
  const isRaisedByNew = patched.atomsIn(after.section.index).some((other) => !originalOf.has(other));
  return isRaisedByNew ? undefined : { from: `${from}`, to: `${to}` };
}

/** The name in the source: MODULE_DEVICE_TABLE() gives a table a second, global one (include/linux/module.h). */
export function declaredName(atom: Atom): string {
  const isAlias = (name: string): boolean => /^__mod_.*_device_table$/.test(name);
  return isAlias(atom.name) ? (atom.symbols.find(({ name }) => !isAlias(name))?.name ?? atom.name) : atom.name;
}

/** The name that the source has for a function or for a part or copy of it: `scan.constprop.0.cold` is of `scan`. */
export function sourceName(name: string): string {
  return name.split(".")[0] as string;
}

/** True for read-only data that only the unit itself names. */
export function isLocalConstant(atom: Atom): boolean {
  return atom.kind === "rodata" && (atom.symbol === undefined || atom.symbol.binding === 0);
}

/** Where the running kernel has a variable or constant, and what may have become of its content. */
export function heldData(atom: Atom): { readonly section: string; readonly holds: string } {
  return { section: atom.section.name, holds: isWritable(atom) ? "holds and may have modified" : "holds" };
}

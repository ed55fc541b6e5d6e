import type { Atom } from "./atoms.ts";
import { isWritable } from "./correlate.ts";
import { isPercpu, isReadOnlyAfterBoot } from "./section-classes.ts";

/** True when the two declarations mean different kinds of memory: `const` or `__ro_after_init` was dropped, per-CPU was added or dropped. */
export function isElsewhere(before: Atom, after: Atom): boolean {
  const [from, to] = [before.section.name, after.section.name];
  const becomesWritable = isReadOnlyAfterBoot(from) && isWritable(after) && !isReadOnlyAfterBoot(to);
  return becomesWritable || isPercpu(from) !== isPercpu(to);
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

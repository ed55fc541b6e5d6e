import type { Atom, TableEntry, Target } from "./atoms.ts";
import type { Rewrite } from "./rewrites.ts";
import type { UnitObject } from "./unit-object.ts";

/** Tables of places that the kernel fills at boot with the value of a variable (include/asm-generic/runtime-const.h, since Linux 6.11). */
const tableName = /^runtime_(ptr|shift)_(.+)$/;

/** The variable whose value the kernel writes into the code at the entries of a table; undefined for any other table. */
export function runtimeConstant(table: string): string | undefined {
  return tableName.exec(table)?.[2];
}

/**
 * The instruction that stands in carried code for one with a runtime constant: it reads the variable. The kernel treats only its own code, at boot; in
 * a module the place would keep the number that the assembler put there.
 * @returns undefined where no such instruction is known.
 */
export function readVariableInstead(unit: UnitObject, entry: TableEntry): Rewrite | undefined {
  const { place } = entry;
  const match = tableName.exec(entry.table);
  if (place === undefined || match === null || match[1] !== "ptr") return undefined;
  const load = unit.arch.loadInstead?.(place.atom.bytes, place.offset);
  if (load === undefined) return undefined;
  const { start, bytes, width, offset, type } = load;
  // The displacement counts from the end of its field, which is the end of the instruction.
  const target = variable(unit, match[2] as string, -width);
  return { offset: start, bytes, reference: { offset, type, target, implicit: false } };
}

function variable(unit: UnitObject, name: string, addend: number): Target {
  const atom = unit.atoms.find((candidate) => candidate.symbol?.name === name);
  return atom === undefined
    ? { kind: "external", name, weak: false, addend }
    : { kind: "atom", atom, addend: addend + entryOf(atom) };
}

function entryOf(atom: Atom): number {
  return atom.symbol === undefined ? 0 : atom.symbol.value - atom.start;
}

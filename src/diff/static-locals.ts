import { ElfFormatError } from "../elf/format-error.ts";
import { readStaticVariables, type StaticVariable } from "../elf/static-variables.ts";
import type { Atom } from "./atoms.ts";
import type { UnitObject } from "./unit-object.ts";

/** Where a static variable of a function is declared. */
export type StaticLocal = Pick<StaticVariable, "scope" | "line" | "struct">;

const known = new WeakMap<UnitObject, ReadonlyMap<Atom, StaticLocal>>();

/**
 * Static variables that are declared in functions, from the debug information.
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
  for (const variable of readableVariables(unit)) {
    const atom = unit.atomAt(variable.section, variable.offset);
    if (atom?.start === variable.offset) locals.set(atom, variable);
  }
  return locals;
}

function readableVariables({ elf }: UnitObject): StaticVariable[] {
  try {
    return readStaticVariables(elf);
  } catch (error) {
    if (error instanceof ElfFormatError) return [];
    throw error;
  }
}

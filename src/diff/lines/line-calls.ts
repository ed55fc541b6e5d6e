import { sourceLines } from "../../elf/line-table.ts";
import type { UnitObject } from "../unit-object.ts";
import { FunctionCode } from "./function-code.ts";
import type { LineOperand } from "./line-operands.ts";

/** Calls at so many lines are no accident, beside the name of a function and without it. */
const enoughBesideName = 2;
const enough = 3;

/** Looks at all calls of a function, for whether they show that a parameter of it is a line. */
export class LineCalls {
  readonly #units: readonly UnitObject[];
  readonly #known = new Map<string, number>();

  constructor(units: readonly UnitObject[]) {
    this.#units = units;
  }

  /** True when all calls of both objects that give a number there give their own line, and there are enough of them. */
  show({ callee, parameter, isBesideName }: LineOperand): boolean {
    const key = `${parameter} ${callee}`;
    let count = this.#known.get(key);
    if (count === undefined) {
      count = Math.min(...this.#units.map((unit) => countOwnLines(unit, callee, parameter)));
      this.#known.set(key, count);
    }
    return count >= (isBesideName ? enoughBesideName : enough);
  }
}

/** How many lines the calls are at; 0 when one gives another number than its line. */
function countOwnLines(unit: UnitObject, callee: string, parameter: number): number {
  const calls = unit.atoms.flatMap((atom) => {
    const isCaller = atom.references.some(({ target }) => target.kind === "external" && target.name === callee);
    if (atom.kind !== "function" || !isCaller) return [];
    const code = new FunctionCode(atom, unit);
    return [...code.loads].flatMap(([offset, { value }]) => {
      const use = code.useOf(offset);
      return use?.name === callee && use.parameter === parameter && use.isOutside
        ? [{ section: atom.section.index, offset: atom.start + use.call, value }]
        : [];
    });
  });
  const lines = sourceLines(unit.elf, calls);
  const own = calls.filter(({ value }, at) => lines[at]?.line === value);
  return own.length === calls.length ? new Set(own.map(({ value }) => value)).size : 0;
}

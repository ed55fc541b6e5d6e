import type { Btf, BtfEnumerator } from "../../kernel/types/btf.ts";
import { sameValue, type TypePairs } from "./same-types.ts";
import { sideBySide } from "./side-by-side.ts";
import type { TypeChange } from "./struct-change.ts";

/** Compares two definitions of an enum: values that exist must stay, new ones may come. */
export function enumChange(types: TypePairs, x: number, y: number, titles: readonly [string, string]): TypeChange {
  const { a, b } = types;
  const [before, after] = [a.enumerators(x), b.enumerators(y)];
  const problems: string[] = [];
  const remarks: string[] = [];
  if (a.size(x) !== b.size(y)) problems.push(`its size changes from ${a.size(x)} to ${b.size(y)} bytes`);
  const values = new Map(before.map((enumerator) => [enumerator.name, enumerator.value]));
  const names = new Set(after.map(({ name }) => name));
  for (const { name, value } of after) {
    const old = values.get(name);
    if (old !== undefined) {
      if (!sameValue(old, value)) problems.push(`${name} changes from ${old} to ${value}`);
      continue;
    }
    const taken = before.filter((enumerator) => sameValue(enumerator.value, value));
    const lost = taken.find((enumerator) => !names.has(enumerator.name));
    if (lost !== undefined) problems.push(`${value} was ${lost.name} and is ${name}`);
    else remarks.push(`${name} = ${value} is new: unpatched code does not know it`);
  }
  for (const { name, value } of before) {
    if (!names.has(name) && !after.some((enumerator) => sameValue(enumerator.value, value)))
      remarks.push(`${name} = ${value} is gone: unpatched code still uses it`);
  }
  return { problems, remarks, layouts: sideBySide(titles, enumLines(before), enumLines(after)), movedBy: [] };
}

function enumLines(enumerators: readonly BtfEnumerator[]): string[] {
  return enumerators.map(({ name, value }) => `${name} = ${value}`);
}

/** Values of the constants that enums without a name define, by the constant's name. */
export function unnamedEnumerators(btf: Btf, enums: readonly number[]): Map<string, bigint[]> {
  const values = new Map<string, bigint[]>();
  for (const type of enums) {
    for (const { name, value } of btf.enumerators(type)) {
      const known = values.get(name);
      if (known === undefined) values.set(name, [value]);
      else known.push(value);
    }
  }
  return values;
}

/** Constants of an enum without a name whose values are not among those that they had, as clauses. */
export function movedConstants(
  known: ReadonlyMap<string, readonly bigint[]>,
  enumerators: readonly BtfEnumerator[],
): string[] {
  return enumerators.flatMap(({ name, value }) => {
    const old = known.get(name);
    if (old === undefined || old.some((other) => sameValue(other, value))) return [];
    return [`${name} changes from ${old[0]} to ${value}`];
  });
}

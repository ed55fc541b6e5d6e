import type { TypePairs } from "./same-types.ts";
import { sideBySide } from "./side-by-side.ts";
import { isHarmless, type TypeChange } from "./struct-change.ts";
import { declaration } from "./type-text.ts";

/** Compares what a function of both units takes and returns; the two types are of kind `func`. */
export function prototypeChange(types: TypePairs, x: number, y: number, titles: readonly [string, string]): TypeChange {
  const { a, b } = types;
  const [from, to] = [a.target(x), b.target(y)];
  const [before, after] = [a.parameters(from), b.parameters(to)];
  const problems: string[] = [];
  const remarks: string[] = [];
  const compare = (what: string, left: number, right: number): void => {
    if (types.sameType(left, right)) return;
    const clause = `${what} changes from ${declaration(a, left, "")} to ${declaration(b, right, "")}`;
    if (isHarmless(types, left, right)) remarks.push(clause);
    else problems.push(clause);
  };
  if (before.length !== after.length) problems.push(`it takes ${after.length} and not ${before.length} arguments`);
  else
    for (const [index, { type }] of before.entries()) compare(`argument ${index + 1}`, type, after[index]?.type ?? 0);
  // Each of several changed arguments may be harmless alone, and all of them another order.
  if (remarks.length > 1) problems.push(...remarks.splice(0));
  problems.push(...movedParameters(types, x, y));
  compare("what it returns", a.target(from), b.target(to));
  const name = a.name(x);
  const layouts = sideBySide(titles, [declaration(a, from, name)], [declaration(b, to, name)]);
  return { problems, remarks, layouts, movedBy: [] };
}

/** Arguments that are at another place by their names: `copy(to, from)` may have become `copy(from, to)` without a change of types. */
export function movedParameters({ a, b }: TypePairs, x: number, y: number): string[] {
  const [before, after] = [a.parameters(a.target(x)), b.parameters(b.target(y))];
  if (before.length !== after.length) return [];
  return before.flatMap(({ name }, index) => {
    const now = name === "" ? -1 : after.findIndex((parameter) => parameter.name === name);
    return now < 0 || now === index ? [] : [`${name} moves from argument ${index + 1} to ${now + 1}`];
  });
}

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
  compare("what it returns", a.target(from), b.target(to));
  if (before.length !== after.length) problems.push(`it takes ${after.length} and not ${before.length} arguments`);
  else
    for (const [index, { type }] of before.entries()) compare(`argument ${index + 1}`, type, after[index]?.type ?? 0);
  const name = a.name(x);
  const layouts = sideBySide(titles, [declaration(a, from, name)], [declaration(b, to, name)]);
  return { problems, remarks, layouts, movedBy: [] };
}

import type { SourceFunction } from "../../src/change/source-functions.ts";
import type { Refusal } from "../../src/refusals/refusals.ts";
import { namedIn, sourceNameOf } from "./function-names.ts";
import { type Variant, variants } from "./variants.ts";

/** A function that a unit's module does not replace, and why. */
export interface LeftFunction {
  readonly function: string;
  readonly code: string;
  readonly why: string;
}

/** A function with the variant that it gets. */
export interface Marked {
  readonly where: SourceFunction;
  readonly variant: Variant;
}

/** The functions that the compiler complains of get the base; all, if it is none of them. */
export function plainer(marked: readonly Marked[], unit: string, complaint: string): Marked[] {
  const lines = complaint
    .split("\n")
    .flatMap((line) => (line.startsWith(`${unit}:`) ? [Number(line.slice(unit.length + 1).split(":")[0])] : []));
  const isMeant = ({ where, variant }: Marked): boolean =>
    variant !== variants[0] && lines.some((line) => where.first <= line && line <= where.last);
  const meant = new Set(marked.filter(isMeant));
  return marked.map((one) => (meant.size === 0 || meant.has(one) ? { ...one, variant: variants[0] } : one));
}

/** What is still marked after refusals: a refused function loses its mark, or, if it has none, what it may have inlined. Undefined when that changes nothing. */
export function without(
  marked: readonly Marked[],
  refusals: readonly Refusal[],
  everything: readonly SourceFunction[],
): { readonly marked: readonly Marked[]; readonly left: readonly LeftFunction[] } | undefined {
  const gone = new Map<string, LeftFunction>();
  const softened = new Set<string>();
  for (const { code, what, why, function: name = what } of refusals) {
    const source = sourceNameOf(name, everything);
    const names = marked.map(({ where }) => where);
    const own = names.filter((where) => where.name === source).map(({ name: one }) => one);
    const inlined = own.length > 0 ? own : namedIn(source, names, everything);
    const concerned = inlined.length > 0 ? inlined : mentioned(`${what} ${why}`, names);
    for (const one of concerned) {
      const { variant } = marked.find(({ where }) => where.name === one) as Marked;
      // What forces or forbids inlining may be what is refused.
      if (variant.before !== undefined) softened.add(one);
      else gone.set(one, { function: one, code, why: own.length > 0 ? why : `of ${name}: ${why}` });
    }
  }
  if (gone.size === 0 && softened.size === 0) return undefined;
  const next = marked
    .filter(({ where }) => !gone.has(where.name))
    .map((one) => (softened.has(one.where.name) ? { ...one, variant: variants[0] } : one));
  return { marked: next, left: [...gone.values()] };
}

/** Functions that a refusal about something else names, such as the users of a variable. */
function mentioned(text: string, functions: readonly Pick<SourceFunction, "name">[]): string[] {
  const words = new Set(text.match(/\w+/g));
  return functions.filter(({ name }) => words.has(name)).map(({ name }) => name);
}

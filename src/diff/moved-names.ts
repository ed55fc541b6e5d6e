import type { Atom } from "./atoms.ts";
import { isNumbered } from "./names.ts";

/** A name of something in the original that is a name of something else in the patched unit. */
export interface MovedName {
  readonly name: string;
  readonly from: Atom;
  readonly to: Atom;
}

/**
 * Finds second names (aliases) that lead elsewhere with the patch. Example: `int entry(int) __attribute__((alias("slow")))` becomes an alias of `safe`,
 * and no byte of either function changes. Callers keep the address that they were linked with.
 */
export function movedNames(
  original: readonly Atom[],
  patched: readonly Atom[],
  patchedOf: ReadonlyMap<Atom, Atom>,
): MovedName[] {
  const here = holders(patched);
  const moved: MovedName[] = [];
  for (const [name, from] of holders(original)) {
    const to = here.get(name);
    if (from === undefined || to === undefined || patchedOf.get(from) === to) continue;
    // A name alone belongs to what has it, and the two are compared as such.
    if (namesOf(from).length > 1 || namesOf(to).length > 1) moved.push({ name, from, to });
  }
  return moved;
}

/** By name, the atom that has it; undefined where several have. */
function holders(atoms: readonly Atom[]): Map<string, Atom | undefined> {
  const found = new Map<string, Atom | undefined>();
  for (const atom of atoms) {
    if (atom.kind === "code") continue;
    for (const name of namesOf(atom)) found.set(name, found.has(name) ? undefined : atom);
  }
  return found;
}

/** Names that the source gives it. */
function namesOf({ symbols }: Atom): string[] {
  return symbols.map(({ name }) => name).filter((name) => !isNumbered(name) && !/^__(pfx|cfi)_/.test(name));
}

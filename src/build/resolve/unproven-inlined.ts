import type { Atom } from "../../diff/atoms.ts";
import { inlinedFunctions } from "../../diff/inlined-functions.ts";
import { baseName } from "../../diff/names.ts";
import type { UnitObject } from "../../diff/unit-object.ts";

/** Code that a function of the patch has by inlining, and the function of the original that shows it to be other code than the kernel's. */
export interface InlinedCode {
  /** The function of the patch, as the source names it. */
  readonly user: string;
  readonly inlined: string;
  /** Differs from the kernel: the inlined function itself, or one that has it inlined too. */
  readonly witness: Atom;
}

/**
 * What carried code has inlined that its original had not, where the kernel's copies of that are not as compiled here: nothing else would hold it against
 * the kernel.
 * @param carried functions of the patched unit, with their originals.
 * @param differing functions of the original unit that are not the kernel's.
 */
export function unprovenInlined(
  units: { readonly original: UnitObject; readonly patched: UnitObject },
  carried: Iterable<readonly [Atom, Atom | undefined]>,
  differing: readonly Atom[],
): InlinedCode[] {
  const [before, after] = [inlinedFunctions(units.original), inlinedFunctions(units.patched)];
  const found = new Map<string, InlinedCode>();
  for (const [atom, original] of carried) {
    const user = sourceName(atom.name);
    const had = original === undefined ? undefined : before.get(sourceName(original.name));
    for (const inlined of after.get(user) ?? []) {
      if (had?.has(inlined) === true) continue;
      const witness = differing.find(({ name }) => {
        const holder = sourceName(name);
        return holder === inlined || before.get(holder)?.has(inlined) === true;
      });
      // One is enough for a function and its cold part.
      if (witness !== undefined && !found.has(user)) found.set(user, { user, inlined, witness });
    }
  }
  return [...found.values()];
}

/** The function of the source that a part of it, or a copy for some callers, belongs to. */
function sourceName(name: string): string {
  return baseName(name).replace(/(\.(cold|part|isra|constprop))+$/, "");
}

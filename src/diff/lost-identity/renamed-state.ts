import { ElfFormatError } from "../../elf/format-error.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";
import type { Atom } from "../atoms.ts";
import { isCorrelatable, isWritable } from "../correlate.ts";
import { unitDeclarations } from "../layout/variable-types.ts";
import type { ComparedUnit } from "./compared-unit.ts";

/**
 * Refuses a variable that only gets another name: the patch module would bring a new one with its initial value, while what the old code has put into the
 * kernel's own is no longer looked at by anything. Taken for that is a new variable of the size, the memory and the type of one that is gone.
 */
export function refuseRenamedState({ original, patched, correlation, selection, pair }: ComparedUnit): Refusal[] {
  const gone = [...correlation.lostData.values()].flat().filter(({ start, end }) => end > start);
  const added = selection.atoms.filter(
    (atom) => isWritable(atom) && isCorrelatable(atom) && !correlation.originalOf.has(atom) && atom.end > atom.start,
  );
  if (gone.length === 0 || added.length === 0) return [];
  const [before, after] = [meaningsOf(original.elf), meaningsOf(patched.elf)];
  const left = [...gone];
  return added.flatMap((atom) => {
    const at = left.findIndex(
      (old) => isSameKind(old, atom) && sameMeaning(before.get(old.base), after.get(atom.base)),
    );
    if (at < 0) return [];
    const [old] = left.splice(at, 1) as [Atom];
    return [refuse("STATE_RENAMED", atom.base, { unit: pair.source, object: pair.object }, { old: old.base })];
  });
}

function isSameKind(old: Atom, atom: Atom): boolean {
  return old.kind === atom.kind && old.end - old.start === atom.end - atom.start;
}

/** Without debug information size and memory decide. */
function sameMeaning(before: string | undefined, after: string | undefined): boolean {
  return before === undefined || after === undefined || before === after;
}

function meaningsOf(elf: Parameters<typeof unitDeclarations>[0]): Map<string, string> {
  try {
    return new Map(unitDeclarations(elf).variables.map(({ name, meaning }) => [name, meaning]));
  } catch (error) {
    if (error instanceof ElfFormatError) return new Map();
    throw error;
  }
}

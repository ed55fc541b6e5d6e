import type { Atom } from "./atoms.ts";
import type { UnitObject } from "./unit-object.ts";

/** The four callbacks of `struct klp_callbacks` (include/linux/livepatch.h), in its order. */
export const callbackKinds = ["pre_patch", "post_patch", "pre_unpatch", "post_unpatch"] as const;
export type CallbackKind = (typeof callbackKinds)[number];

/** What the author of a patch said with the macros of `livepatch_helpers.h` and `kpatch-macros.h`. */
export interface AuthorMarks {
  readonly callbacks: readonly { readonly kind: CallbackKind; readonly function: Atom }[];
  /** Functions whose change is to be left out. */
  readonly ignoredFunctions: ReadonlySet<Atom>;
  /** Sections whose change is to be left out. */
  readonly ignoredSections: ReadonlySet<string>;
}

/** Prefix of the sections that the macros fill. */
const markSections = ".kmend.";

/** Reads the marks of a unit. */
export function readMarks(unit: UnitObject): AuthorMarks {
  const callbacks: AuthorMarks["callbacks"][number][] = [];
  const ignoredFunctions = new Set<Atom>();
  const ignoredSections = new Set<string>();
  for (const atom of unit.atoms) {
    const { name } = atom.section;
    if (!name.startsWith(markSections)) continue;
    if (name === `${markSections}ignore.sections`) {
      for (const text of Buffer.from(atom.bytes).toString("latin1").split("\0"))
        if (text !== "") ignoredSections.add(text);
    }
    const kind = callbackKinds.find((candidate) => name === `${markSections}callbacks.${candidate}`);
    for (const { target } of atom.references) {
      if (target.kind !== "atom" || target.atom.kind !== "function") continue;
      if (kind !== undefined) callbacks.push({ kind, function: target.atom });
      else ignoredFunctions.add(target.atom);
    }
  }
  return { callbacks, ignoredFunctions, ignoredSections };
}

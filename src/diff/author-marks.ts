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

/** Prefixes of the sections that the macros fill: kmend's, and kpatch's own in an object that was built for it (kmod/patch/kpatch-macros.h there). */
const prefixes = [".kmend.", ".kpatch."];

/** Name of a mark's section without its prefix; undefined for any other section. */
function markOf(section: string): string | undefined {
  const prefix = prefixes.find((each) => section.startsWith(each));
  return prefix === undefined ? undefined : section.slice(prefix.length);
}

/** Reads the marks of a unit. */
export function readMarks(unit: UnitObject): AuthorMarks {
  const callbacks: AuthorMarks["callbacks"][number][] = [];
  const ignoredFunctions = new Set<Atom>();
  const ignoredSections = new Set<string>();
  for (const atom of unit.atoms) {
    const mark = markOf(atom.section.name);
    if (mark === undefined) continue;
    if (mark === "ignore.sections") {
      // kmend's macro puts the name there, kpatch's a pointer to it.
      const named = atom.references.flatMap(({ target }) => (target.kind === "atom" ? [target.atom.bytes] : []));
      for (const text of (named.length > 0 ? named : [atom.bytes]).flatMap(textsIn)) ignoredSections.add(text);
      continue;
    }
    const kind = callbackKinds.find((candidate) => mark === `callbacks.${candidate}`);
    if (kind === undefined && mark !== "ignore.functions") continue;
    for (const { target } of atom.references) {
      if (target.kind !== "atom" || target.atom.kind !== "function") continue;
      if (kind !== undefined) callbacks.push({ kind, function: target.atom });
      else ignoredFunctions.add(target.atom);
    }
  }
  return { callbacks, ignoredFunctions, ignoredSections };
}

function textsIn(bytes: Uint8Array): string[] {
  return Buffer.from(bytes)
    .toString("latin1")
    .split("\0")
    .filter((text) => text !== "");
}

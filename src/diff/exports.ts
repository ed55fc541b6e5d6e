import type { Atom } from "./atoms.ts";
import type { Correlation } from "./correlate.ts";

/** Sections with one entry per EXPORT_SYMBOL: the table itself up to 6.3, what modpost makes it from since. */
const exportSections = /^(___ksymtab.*|\.export_symbol)$/;
/** Sections that hold parts of such entries. */
const exportParts = /^(___kcrctab.*|__ksymtab_strings)$/;

/** True for an atom that makes a symbol known to other modules. */
export function isExport(atom: Atom): boolean {
  return exportSections.test(atom.section.name);
}

/** True for names and checksums that belong to exports. */
export function isExportPart(atom: Atom): boolean {
  return exportParts.test(atom.section.name);
}

/** Name of the symbol that an export atom is about: `__ksymtab_foo` and `__export_symbol_foo` are about `foo`. */
export function exportedName(atom: Atom): string {
  return atom.name.replace(/^__(ksymtab|export_symbol)_/, "");
}

/** What an export atom makes known, when this unit defines it. */
export function exportedAtom(atom: Atom): Atom | undefined {
  const name = exportedName(atom);
  for (const { target } of atom.references) {
    if (target.kind === "atom" && target.atom.symbols.some((symbol) => symbol.name === name)) return target.atom;
  }
  return undefined;
}

/** One clause for each export that the patched unit does not have any more. */
export function removedExports(original: readonly Atom[], { patchedOf }: Pick<Correlation, "patchedOf">): string[] {
  return original
    .filter((atom) => isExport(atom) && !patchedOf.has(atom))
    .map(
      (atom) => `${exportedName(atom)} is no longer exported with the patch; the running kernel continues to export it`,
    );
}

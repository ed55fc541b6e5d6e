import type { Target } from "../../diff/atoms.ts";
import type { Route, Selection } from "../../diff/select.ts";

/** The addend that leads into an entry of a table of which the patch module has the selected entries, relative to the beginning of the table. */
export function addendInTable(
  { entry, within }: Route & { readonly to: "entry" },
  target: Target,
  { entries }: Pick<Selection, "entries">,
): number {
  const number = entries.get(entry.table)?.indexOf(entry) ?? -1;
  if (number < 0) throw new Error(`an entry of ${entry.table} is referred to but not carried`);
  const place = target.kind === "external" ? target.inTable : undefined;
  return number * entry.bytes.length + within + target.addend - (place?.offset ?? 0);
}

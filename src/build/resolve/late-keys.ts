import { basename } from "node:path";
import type { Atom, Reference, TableEntry } from "../../diff/atoms.ts";
import type { Route, Selection } from "../../diff/select.ts";
import { isReadByLoader } from "../../diff/special-sections/special-sections.ts";
import type { UnitObject } from "../../diff/unit-object.ts";
import { sourceLines } from "../../elf/line-table.ts";
import { type Refusal, refuse } from "../../refusals/refusals.ts";
import { branchOnKey, type KeyBranch, withKeyBranches } from "./key-branches.ts";
import type { Reach } from "./resolve.ts";

/** Entries of a unit that can be carried, and what became of the others. */
export interface KeyDecision {
  /** What is carried, with other code where the kernel could not have written its own. */
  readonly selection: Selection;
  readonly refusals: readonly Refusal[];
  readonly notes: readonly string[];
}

/**
 * A patched module's symbols get their addresses only when that module is there; by then the kernel has set up the patch module's jump labels, static
 * calls and alternatives. Entries of those tables that need such a symbol cannot be carried as they are:
 * - a static call goes on through its trampoline, which the kernel keeps up to date too, so without the entry it does the same with one jump more;
 * - a jump label becomes a branch that reads its key each time (key-branches.ts), where there is room for it;
 * - without room, a tracepoint's jump label stays off: the patched function no longer triggers it, which is noted;
 * - any other jump label, and an alternative, is refused.
 */
export function decideModuleKeys(
  selection: Selection,
  unit: UnitObject,
  object: string,
  unitPath: string,
  reachOf: (route: Route) => Reach | undefined,
): KeyDecision {
  if (object === "vmlinux") return { selection, refusals: [], notes: [] };
  const branches: KeyBranch[] = [];
  const refusals: Refusal[] = [];
  const notes = new Set<string>();
  const entries = new Map<string, readonly TableEntry[]>();
  for (const [table, list] of selection.entries) {
    const kept = !isReadByLoader(table)
      ? list
      : list.filter((entry) => {
          const key = lateSymbol(entry, selection, reachOf);
          if (key === undefined) return true;
          const where = entry.place?.atom.name ?? unitPath;
          if (table === ".static_call_sites") return false;
          const branch = table === "__jump_table" ? branchOnKey(entry, unit, selection) : undefined;
          if (branch !== undefined) {
            branches.push(branch);
            return false;
          }
          if (table === "__jump_table" && key.startsWith("__tracepoint_")) {
            notes.add(
              `${where}: the tracepoint ${key.slice("__tracepoint_".length)} of ${object} no longer fires in the patched function`,
            );
            return false;
          }
          refusals.push(
            table === "__jump_table"
              ? refuse("JUMP_LABEL_MODULE_KEY", where, placeOf(entry, unitPath, unit), { key })
              : refuse("SPECIAL_SECTION", where, placeOf(entry, unitPath, unit), {
                  problem: `its entry in ${table} needs ${key} of ${object}, whose address is not known when the kernel uses the table`,
                }),
          );
          return false;
        });
    if (kept.length > 0) entries.set(table, kept);
  }
  return { selection: withKeyBranches({ ...selection, entries }, branches), refusals, notes: [...notes] };
}

/** Unit, function, offset and source line that an entry is about, as far as they are known. */
function placeOf({ place }: TableEntry, unitPath: string, { elf }: UnitObject): string {
  if (place === undefined) return unitPath;
  const { atom, offset } = place;
  const [source] = sourceLines(elf, [{ section: atom.section.index, offset: atom.start + offset }]);
  const line = source === undefined ? "" : ` (${basename(source.file)}:${source.line})`;
  return `${unitPath}: ${atom.name}+0x${offset.toString(16)}${line}`;
}

/** Name of a symbol of a module that the entry needs, or undefined. */
function lateSymbol(
  entry: TableEntry,
  selection: Selection,
  reachOf: (route: Route) => Reach | undefined,
): string | undefined {
  for (const [from, reference] of usesOf(entry)) {
    const reach = reachOf(selection.route(from, reference));
    if (reach?.by === "klp" && reach.symbol.object !== "vmlinux") return reach.symbol.name;
  }
  return undefined;
}

/** How far into an instruction the distance of `call`, `jmp` and `jcc` begins at most, in bytes. */
const longestOpcode = 2;

/**
 * The references of an entry. When the kernel writes an alternative it copies the replacement over the place in the code, so what the replacement
 * refers to is needed then, and a branch that begins at the place can no longer be completed afterwards.
 */
function usesOf(entry: TableEntry): [Atom | TableEntry, Reference][] {
  const uses: [Atom | TableEntry, Reference][] = entry.references.map((reference) => [entry, reference]);
  if (entry.table !== ".altinstructions") return uses;
  for (const { target } of entry.references) {
    if (target.kind !== "atom" || target.atom === entry.place?.atom) continue;
    for (const reference of target.atom.references) uses.push([target.atom, reference]);
  }
  if (entry.place !== undefined) {
    const { atom, offset } = entry.place;
    for (const reference of atom.references)
      if (reference.offset > offset && reference.offset <= offset + longestOpcode) uses.push([atom, reference]);
  }
  return uses;
}

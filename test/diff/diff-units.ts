import type { Atom, Reference, TableEntry } from "../../src/diff/atoms.ts";
import { findChanges, type UnitChanges } from "../../src/diff/changes.ts";
import { type Correlation, correlate } from "../../src/diff/correlate.ts";
import { type CallChoice, type Route, type Selection, selectCarried } from "../../src/diff/select.ts";
import type { EntrySizes } from "../../src/diff/special-sections/tables.ts";
import { readUnitObject, type UnitObject } from "../../src/diff/unit-object.ts";
import { compileC } from "../fixtures/compile.ts";

/** The diff of two builds of a unit, and what a test asks about it. */
export class UnitDiff {
  readonly original: UnitObject;
  readonly patched: UnitObject;
  readonly correlation: Correlation;
  readonly changes: UnitChanges;
  readonly selection: Selection;

  constructor(original: UnitObject, patched: UnitObject, calls?: CallChoice) {
    this.original = original;
    this.patched = patched;
    this.correlation = correlate(original, patched);
    this.changes = findChanges(original, patched, this.correlation, "unit.c", "vmlinux");
    this.selection = selectCarried(patched, this.correlation, this.changes, "unit.c", "vmlinux", calls);
  }

  /** Functions that ftrace will send to the patch module. */
  get redirected(): string[] {
    return [...this.changes.functions.values()]
      .filter((change) => change.redirected)
      .map(({ atom }) => atom.name)
      .sort();
  }

  /** Everything with a name that the patch module holds. */
  get carried(): string[] {
    return this.selection.atoms
      .filter(({ symbol }) => symbol !== undefined)
      .map(({ name }) => name)
      .sort();
  }

  /** `CODE what`, of both phases. */
  get refusals(): string[] {
    return [...this.changes.refusals, ...this.selection.refusals].map(({ code, what }) => `${code} ${what}`).sort();
  }

  reason(name: string): string | undefined {
    return this.changes.functions.get(atom(this.patched, name))?.reason;
  }

  /** Where the references of a carried atom lead, as `place → inside f+0x1`. */
  routes(name: string): string[] {
    const from = atom(this.patched, name);
    return from.references.map((reference) => describeRoute(reference, this.selection.route(from, reference)));
  }

  entryRoutes(table: string): string[][] {
    const entries: readonly TableEntry[] = this.selection.entries.get(table) ?? [];
    return entries.map((entry) =>
      entry.references.map((reference) => describeRoute(reference, this.selection.route(entry, reference))),
    );
  }

  /** Name of the original thing that a patched one is. */
  originalOf(name: string): string | undefined {
    return this.correlation.originalOf.get(atom(this.patched, name))?.name;
  }
}

function describeRoute(reference: Reference, route: Route): string {
  const { addend } = reference.target;
  const place = `+0x${reference.offset.toString(16)}`;
  if (route.to === "absolute") return `${place} absolute`;
  const name = route.to === "external" ? route.name : route.to === "entry" ? route.entry.table : route.atom.name;
  return `${place} ${route.to} ${name}${addend < 0 ? addend : `+${addend}`}`;
}

/** The atom of that name. */
export function atom(unit: UnitObject, name: string): Atom {
  const found = unit.atoms.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no ${name} among ${unit.atoms.map((other) => other.name).join(", ")}`);
  return found;
}

export async function diffObjects(
  original: Uint8Array,
  patched: Uint8Array,
  entrySizes: EntrySizes = {},
): Promise<UnitDiff> {
  return new UnitDiff(await readUnitObject(original, entrySizes), await readUnitObject(patched, entrySizes));
}

/** Compiles and compares two C sources. */
export function diffC(original: string, patched: string, flags: readonly string[] = []): Promise<UnitDiff> {
  return diffObjects(compileC(original, flags), compileC(patched, flags));
}

/** Compiles one C source without and with the macro PATCHED. */
export function diffPatched(source: string, flags: readonly string[] = []): Promise<UnitDiff> {
  return diffObjects(compileC(source, flags), compileC(source, [...flags, "-DPATCHED"]));
}

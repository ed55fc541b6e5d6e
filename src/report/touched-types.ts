import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { diffArrays } from "diff";
import type { BuildFacts } from "../build/build-facts.ts";
import type { UnitPlan } from "../build/resolve/plan.ts";
import { type FlatMember, flatMembers } from "../diff/layout/members.ts";
import { encodeUnitTypes } from "../diff/layout/unit-btf.ts";
import { Btf } from "../kernel/types/btf.ts";
import { BtfFormatError } from "../kernel/types/btf-format.ts";
import { KmendError } from "../support/errors.ts";
import type { TouchedType, TypeMember, TypeRow } from "./report-types.ts";
import { hunksOf, sourceText } from "./source-hunks.ts";
import { sourceTypes } from "./source-lines.ts";
import { findAggregate, type UsedMembers, usedMembers } from "./used-members.ts";

/** Types that a page shows. */
const mostTypes = 24;

/** The types that the patch changes, and those of which its changed lines use members, as the running kernel and as the new code have them. */
export async function touchedTypesOf(facts: BuildFacts): Promise<TouchedType[]> {
  const found = new Map<string, TouchedType>();
  for (const plan of facts.examination.plans) {
    if (plan.changes.functions.size === 0 && facts.result.refusals.length === 0) continue;
    for (const type of await typesOfUnit(plan, facts)) {
      const known = found.get(`${type.object} ${type.name}`);
      found.set(`${type.object} ${type.name}`, known === undefined ? type : joined(known, type));
    }
  }
  return [...found.values()]
    .sort((a, b) => Number(b.isChanged) - Number(a.isChanged) || (a.name < b.name ? -1 : 1))
    .slice(0, mostTypes);
}

async function typesOfUnit(plan: UnitPlan, { session, examination }: BuildFacts): Promise<TouchedType[]> {
  const { pair } = plan;
  const { folder, signal } = session.context;
  const kernel = await examination.types.of(pair.object).catch(withoutTypes);
  // The object's own file is gone once the module is linked.
  const object = join(folder, "reported-unit.o");
  await writeFile(object, plan.patched.elf.file);
  const encoded = await encodeUnitTypes(object, folder, signal).catch(withoutTypes);
  if (encoded === undefined) return [];
  try {
    const patched = new Btf(encoded, pair.source);
    const used: UsedMembers = new Map();
    for (const file of session.change.files) {
      if (file.path !== pair.source && !file.path.endsWith(".h")) continue;
      for (const [name, members] of usedMembers(file, hunksOf(file, []), plan, patched)) {
        const all = used.get(name) ?? new Set();
        for (const member of members) all.add(member);
        used.set(name, all);
      }
      for (const name of rewrittenTypes(file)) if (!used.has(name)) used.set(name, new Set());
    }
    return [...used].flatMap(([name, members]) => {
      const [before, after] = [kernel && findAggregate(kernel, name), findAggregate(patched, name)];
      if (before === undefined && after === undefined) return [];
      const left = kernel === undefined || before === undefined ? undefined : { types: kernel, type: before };
      const right = after === undefined ? undefined : { types: patched, type: after };
      return [typeBeside(name, pair.object, left, right, members)];
    });
  } catch (error) {
    if (error instanceof BtfFormatError) return [];
    throw error;
  }
}

function withoutTypes(error: unknown): undefined {
  if (error instanceof KmendError) return undefined;
  throw error;
}

/** Structs and unions in whose definition, written as the kernel does, lines changed. */
function rewrittenTypes(file: BuildFacts["session"]["change"]["files"][number]): string[] {
  const names = new Set<string>();
  for (const side of ["original", "patched"] as const) {
    const changed = new Set(
      hunksOf(file, []).flatMap((hunk) =>
        hunk.lines.flatMap((line) => {
          const number = side === "original" ? line.old : line.new;
          return line.kind === "context" || number === null ? [] : [number];
        }),
      ),
    );
    for (const { name, first, last } of sourceTypes(sourceText(file[side]))) {
      const isTouched = [...changed].some((line) => line >= first && line <= last);
      if (isTouched && !name.startsWith("enum ")) names.add(name);
    }
  }
  return [...names];
}

interface Layout {
  readonly types: Btf;
  readonly type: number;
}

function typeBeside(
  name: string,
  object: string,
  before: Layout | undefined,
  after: Layout | undefined,
  used: ReadonlySet<string>,
): TouchedType {
  const [left, right] = [before, after].map((layout) => (layout === undefined ? [] : placesOf(layout)));
  const rows: TypeRow[] = [];
  let removed: readonly Place[] = [];
  const row = (shipped: Place | undefined, patched: Place | undefined, differs: boolean): void => {
    const isUsed = [shipped, patched].some((place) => place !== undefined && place.path !== "" && used.has(place.path));
    rows.push({ shipped: shipped?.shown ?? null, patched: patched?.shown ?? null, differs, isUsed });
  };
  const flush = (added: readonly Place[]): void => {
    for (let index = 0; index < Math.max(removed.length, added.length); index++)
      row(removed[index], added[index], true);
    removed = [];
  };
  const isSame = (a: Place, b: Place): boolean =>
    a.path === b.path && a.shown.at === b.shown.at && a.shown.size === b.shown.size;
  for (const part of diffArrays<Place>(left as Place[], right as Place[], { comparator: isSame })) {
    if (part.removed) removed = part.value;
    else if (part.added) flush(part.value);
    else {
      flush([]);
      for (const place of part.value) row(place, place, false);
    }
  }
  flush([]);
  const sizeOf = (layout: Layout | undefined): number | null => layout?.types.size(layout.type) ?? null;
  const size = { shipped: sizeOf(before), patched: sizeOf(after) };
  const isChanged = rows.some(({ differs }) => differs) || size.shipped !== size.patched;
  return { name, object, size, isChanged, rows };
}

interface Place {
  readonly path: string;
  readonly shown: TypeMember;
}

/** Members and the holes between them. */
function placesOf({ types, type }: Layout): Place[] {
  const places: Place[] = [];
  let end = 0;
  const hole = (until: number): void => {
    const bits = until - end;
    if (bits > 0) places.push({ path: "", shown: { at: placeText(end), size: sizeText(bits), text: null } });
  };
  for (const member of flatMembers(types, type)) {
    if (member.offset > end) hole(member.offset);
    places.push({ path: member.path, shown: shownMember(member) });
    end = Math.max(end, member.offset + member.size);
  }
  hole(types.size(type) * 8);
  return places;
}

function shownMember({ offset, size, text }: FlatMember): TypeMember {
  return { at: placeText(offset), size: sizeText(size), text };
}

function placeText(bits: number): string {
  return bits % 8 === 0 ? `${bits >> 3}` : `${bits >> 3}.${bits & 7}`;
}

function sizeText(bits: number): string {
  return bits % 8 === 0 ? `${bits >> 3}` : `${bits} bit`;
}

/** The same type as several units use it. */
function joined(a: TouchedType, b: TouchedType): TouchedType {
  if (a.rows.length !== b.rows.length) return a.isChanged ? a : b;
  return { ...a, rows: a.rows.map((row, index) => ({ ...row, isUsed: row.isUsed || b.rows[index]?.isUsed === true })) };
}

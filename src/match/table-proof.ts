import type { Atom, Reference, TableEntry } from "../diff/atoms.ts";
import { describeTarget } from "../diff/compare.ts";
import {
  hasKey,
  orcRule,
  runtimeTableRule,
  type TableRule,
  tableRules,
} from "../diff/special-sections/special-sections.ts";
import { entriesByAtom } from "../diff/special-sections/tables.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import { describeAddress } from "./candidates.ts";
import type { Findings, Mismatch } from "./findings.ts";
import { type BehindPadding, OrcProof } from "./orc-proof.ts";
import type { PlaceValue, TargetEntry, TargetObject } from "./target-object.ts";

type Check = (reference: Reference, value: PlaceValue, tail: number, findings: Findings) => string | undefined;

/**
 * Holds what the tables say about a function against what those of the target say about it, entry by entry and both ways. The code around a static
 * branch is a nop in any case: only the table tells which key decides, and a nop that a table names is an instruction.
 */
export class TableProof {
  readonly #unit: UnitObject;
  readonly #target: TargetObject;
  readonly #check: Check;
  readonly #rules: readonly TableRule[];
  readonly #orc: OrcProof;
  readonly #entries = new Map<string, Map<Atom, TableEntry[]>>();

  constructor(unit: UnitObject, target: TargetObject, check: Check) {
    this.#unit = unit;
    this.#target = target;
    this.#check = check;
    this.#orc = new OrcProof(unit, target);
    const runtime = new Set([...unit.tables.keys(), ...(target.runtimeTables?.() ?? [])]);
    this.#rules = [...tableRules, ...[...runtime].flatMap((table) => runtimeTableRule(table) ?? [])];
  }

  /**
   * The first difference in what the tables say about an atom.
   * @param start address of the atom's first byte in the target.
   * @param length bytes that it has there.
   * @param theirs by offset in the atom, that in the target.
   * @param behind where code goes on behind padding, for a function whose padding differs.
   */
  compare(
    atom: Atom,
    start: number,
    length: number,
    theirs: (offset: number) => number | undefined,
    findings: Findings,
    behind?: BehindPadding,
  ): Mismatch | undefined {
    for (const rule of this.#rules) {
      const size = this.#unit.entrySizeOf(rule.table);
      const there = this.#target.tableEntries?.(rule, size, start, start + length);
      if (there === undefined) continue;
      const here = this.#entriesOf(rule.table).get(atom) ?? [];
      const mismatch = this.#compareEntries(rule, here, there, start, theirs, findings);
      if (mismatch !== undefined) return mismatch;
      findings.record?.entries(rule.table, here.length);
    }
    findings.record?.entries(orcRule.table, this.#orc.entriesOf(atom));
    return this.#orc.compare(atom, start, length, theirs, behind);
  }

  /** Offsets in an atom that a table names: what stands there is an instruction, even where it does nothing. */
  namedOffsets(atom: Atom): Set<number> {
    const named = new Set<number>();
    for (const rule of this.#rules)
      for (const { place } of this.#entriesOf(rule.table).get(atom) ?? []) named.add(place?.offset ?? 0);
    return named;
  }

  /** The same for code of the target. */
  namedOffsetsThere(start: number, length: number): Set<number> {
    const named = new Set<number>();
    for (const rule of this.#rules) {
      const size = this.#unit.entrySizeOf(rule.table);
      for (const { place } of this.#target.tableEntries?.(rule, size, start, start + length) ?? [])
        named.add(place - start);
    }
    return named;
  }

  /** What tells an entry of the original from what is at an address of the target, where code refers to it. */
  referredProblem(entry: TableEntry, address: number, findings: Findings): string | undefined {
    const rule = this.#rules.find(({ table }) => table === entry.table);
    const [place] = entry.references;
    const value =
      rule === undefined ? undefined : this.#target.valueAt(address, rule.place.width, rule.place.isRelative);
    const size = this.#unit.entrySizeOf(entry.table);
    const there =
      rule === undefined || value?.kind !== "address"
        ? undefined
        : this.#target.tableEntries?.(rule, size, value.address, value.address + 1)?.find(({ at }) => at === address);
    if (rule === undefined || place === undefined || value === undefined || there === undefined)
      return `refers to ${describeAddress(this.#target, address)} in the target and to an entry of ${entry.table} here`;
    const problem = this.#check(place, value, 0, findings);
    if (problem !== undefined) return `refers to another entry of ${entry.table} in the target: it ${problem}`;
    return this.#entryProblem(rule, entry, there, findings);
  }

  #compareEntries(
    rule: TableRule,
    here: readonly TableEntry[],
    there: readonly TargetEntry[],
    start: number,
    theirs: (offset: number) => number | undefined,
    findings: Findings,
  ): Mismatch | undefined {
    for (let at = 0; at < Math.max(here.length, there.length); at++) {
      const [x, y] = [here[at], there[at]];
      const offset = x?.place?.offset ?? 0;
      const ours = x === undefined ? undefined : theirs(offset);
      if (x !== undefined && (y === undefined || ours === undefined || ours < y.place - start))
        return { offset, text: `${rule.noun}${this.#subject(x)} is not in the target` };
      if (y !== undefined && (x === undefined || ours !== y.place - start)) {
        const place = y.place - start;
        return {
          offset: place,
          text: `the target has ${rule.noun}${this.#subjectThere(rule, y)} at +0x${place.toString(16)}, and here is none`,
        };
      }
      const problem = this.#entryProblem(rule, x as TableEntry, y as TargetEntry, findings);
      if (problem !== undefined) return { offset, text: `${rule.noun} ${problem}` };
    }
    return undefined;
  }

  #entryProblem(rule: TableRule, ours: TableEntry, { at, size }: TargetEntry, findings: Findings): string | undefined {
    const theirs = this.#target.bytesAt(at, size);
    if (theirs === undefined || size !== ours.bytes.length)
      return `is described in ${size} bytes in the target and in ${ours.bytes.length} here`;
    const ignored = rule.ignored?.(size);
    const isIgnored = (offset: number): boolean =>
      ignored !== undefined && offset >= ignored.from && offset < ignored.to;
    const filled = new Set<number>();
    const [first, ...others] = ours.references;
    for (const reference of first === undefined ? [] : [first, ...others]) {
      const width = this.#unit.arch.relocationWidth(reference.type) ?? 0;
      for (let byte = 0; byte < width; byte++) filled.add(reference.offset + byte);
    }
    // Bytes first: where the key of an entry differs too, the kind of difference is told by what it is.
    for (let offset = 0; offset < size; offset++) {
      if (filled.has(offset) || isIgnored(offset) || ours.bytes[offset] === theirs[offset]) continue;
      return `differs in byte ${offset} of its entry in ${rule.table}: ${theirs[offset]} in the target and ${ours.bytes[offset]} here`;
    }
    const length = rule.replacementLength === undefined ? undefined : ours.bytes[rule.replacementLength(size)];
    for (const reference of others) {
      if (isIgnored(reference.offset)) continue;
      const problem = this.#fieldProblem(reference, at, length, findings);
      if (problem !== undefined) return problem;
    }
    return this.#extraField(ours, at, size, isIgnored);
  }

  #fieldProblem(reference: Reference, at: number, length: number | undefined, findings: Findings): string | undefined {
    const { arch } = this.#unit;
    const width = arch.relocationWidth(reference.type) ?? 0;
    if (width === 0) return undefined;
    const value = this.#target.valueAt(at + reference.offset, width, arch.isPcRelative(reference.type));
    if (value === undefined) return "refers to nothing in the target";
    if (length !== undefined) return this.#replacementProblem(reference, value, length, findings);
    return this.#check(reference, value, 0, findings);
  }

  /** A field of the target's entry with a relocation, where ours has none. */
  #extraField(ours: TableEntry, at: number, size: number, isIgnored: (offset: number) => boolean): string | undefined {
    const known = new Set(ours.references.map(({ offset }) => at + offset));
    const extra = this.#target.placesIn?.(at, size)?.find((place) => !known.has(place) && !isIgnored(place - at));
    return extra === undefined
      ? undefined
      : `refers to something in byte ${extra - at} of its entry in the target and to nothing here`;
  }

  /** Compares as many bytes of replacing code as the entry says. */
  #replacementProblem(
    { target }: Reference,
    value: PlaceValue,
    length: number,
    findings: Findings,
  ): string | undefined {
    if (length === 0) return undefined;
    if (target.kind !== "atom" || value.kind !== "address") return "has its replacement elsewhere";
    const { section } = target.atom;
    const from = target.atom.start + target.addend;
    const theirs = this.#target.bytesAt(value.address, length);
    if (theirs === undefined) return "has no replacement in the target";
    const references = this.#unit
      .atomsIn(section.index)
      .flatMap((piece) =>
        piece.references.map((reference) => ({ piece, reference, at: piece.start + reference.offset - from })),
      )
      .filter(({ at }) => at >= 0 && at < length);
    let next = 0;
    for (const { piece, reference, at } of [...references, undefined].map(
      (each) => each ?? { piece: undefined, reference: undefined, at: length },
    )) {
      for (; next < at; next++) {
        const [our, their] = [section.data[from + next], theirs[next]];
        if (our !== their)
          return `has another replacement: its byte ${next} is ${hex(their)} in the target and ${hex(our)} here`;
      }
      if (reference === undefined || piece === undefined) break;
      const { arch } = this.#unit;
      const width = arch.relocationWidth(reference.type) ?? 0;
      const isRelative = arch.isPcRelative(reference.type);
      const found = this.#target.valueAt(value.address + at, width, isRelative);
      const tail = isRelative ? arch.instructionTail(section.data, from + at, reference.type) : 0;
      const problem =
        found === undefined ? "refers to nothing in the target" : this.#check(reference, found, tail, findings);
      if (problem !== undefined) return `has another replacement: it ${problem}`;
      next = at + width;
    }
    const known = new Set(references.map(({ at }) => value.address + at));
    const extra = this.#target.placesIn?.(value.address, length)?.some((place) => !known.has(place));
    return extra === true
      ? "has another replacement: it refers to something in the target and to nothing here"
      : undefined;
  }

  /** What an entry is about beside its place: the key of a static branch or call. */
  #subject({ table, references }: TableEntry): string {
    const target = references.at(-1)?.target;
    if (!hasKey(table) || target === undefined || target.kind === "absolute") return "";
    return ` on ${describeTarget(target)}`;
  }

  #subjectThere({ key }: TableRule, { at, size }: TargetEntry): string {
    if (key === undefined) return "";
    const value =
      key === "last8" ? this.#target.valueAt(at + size - 8, 8, true) : this.#target.valueAt(at + 4, 4, true);
    if (value?.kind === "external") return ` on ${value.name}`;
    // The low bits of the address of a key are flags.
    return value?.kind === "address" ? ` on ${describeAddress(this.#target, value.address - (value.address & 3))}` : "";
  }

  #entriesOf(table: string): Map<Atom, TableEntry[]> {
    let map = this.#entries.get(table);
    if (map === undefined) {
      map = entriesByAtom(this.#unit.tables, [table]);
      this.#entries.set(table, map);
      for (const list of map.values()) list.sort((a, b) => (a.place?.offset ?? 0) - (b.place?.offset ?? 0));
    }
    return map;
  }
}

function hex(byte: number | undefined): string {
  return (byte ?? 0).toString(16).padStart(2, "0");
}

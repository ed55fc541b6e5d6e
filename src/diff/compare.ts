import { equalBytes } from "../elf/bytes.ts";
import { Binding } from "../elf/constants.ts";
import { type Atom, isAnonymousConstant, type Reference, seenThrough, type TableEntry, type Target } from "./atoms.ts";
import { type Correlation, isCorrelatable, isWritable } from "./correlate.ts";
import { filledBits, firstDifference } from "./filled-bits.ts";
import type { LineMoves } from "./lines/line-moves.ts";
import type { Bits } from "./lines/line-places.ts";
import { baseName } from "./names.ts";
import { isSanitizerData } from "./special-sections/section-classes.ts";
import { entriesByAtom, meaningfulEntries } from "./special-sections/tables.ts";
import type { UnitObject } from "./unit-object.ts";

/** The first thing that tells two atoms apart. */
export interface Difference {
  /** Offset in the patched atom. */
  readonly offset: number;
  /** One clause for a person, such as `calls kfree_sensitive instead of kfree`. */
  readonly text: string;
  /** The same thing is referred to, at another place. */
  readonly isMoved?: boolean;
}

/** Compares atoms of the two builds of a unit; everything it finds is remembered. */
export class Comparison {
  readonly #correlation: Correlation;
  readonly #known = new Map<Atom, Map<Atom, Difference | null>>();
  /** Pairs that are being compared, and those found equal since the first of them began. */
  readonly #assumed: [Atom, Atom][] = [];
  readonly #entries: readonly [ReadonlyMap<Atom, readonly TableEntry[]>, ReadonlyMap<Atom, readonly TableEntry[]>];
  readonly #tables: readonly [UnitObject["tables"], UnitObject["tables"]];
  /** By table, its entries by the atom that they are about. */
  readonly #placed = [new Map<string, Map<Atom, TableEntry[]>>(), new Map<string, Map<Atom, TableEntry[]>>()] as const;
  readonly #maskOf: (type: number) => Uint8Array | undefined;
  readonly #instructionAlignment: number;
  readonly #lines: LineMoves | undefined;
  readonly #left: ReadonlySet<string>;

  /**
   * @param lines what only tells that lines of the source moved; without it, every number of a line counts.
   * @param left sections whose constants stay as the running kernel has them, whatever the patched object says.
   */
  constructor(
    original: UnitObject,
    patched: UnitObject,
    correlation: Correlation,
    lines?: LineMoves,
    left: ReadonlySet<string> = new Set(),
  ) {
    this.#lines = lines;
    this.#left = left;
    this.#correlation = correlation;
    this.#entries = [meaningfulEntries(original.tables), meaningfulEntries(patched.tables)];
    this.#tables = [original.tables, patched.tables];
    this.#instructionAlignment = patched.arch.instructionAlignment;
    this.#maskOf = (type) => patched.arch.relocationMask(type, patched.elf.littleEndian);
  }

  /** The first difference of a pair in content, references, or table entries; null when there is none. */
  difference(a: Atom, b: Atom): Difference | null {
    let known = this.#known.get(a);
    if (known === undefined) {
      known = new Map();
      this.#known.set(a, known);
    }
    const earlier = known.get(b);
    if (earlier !== undefined) return earlier;
    // Two things that refer to each other are equal unless something else differs. What was found equal meanwhile may rest on that.
    const assumed = this.#assumed.length;
    this.#assumed.push([a, b]);
    known.set(b, null);
    const found = this.#compare(a, b);
    if (found !== null) for (const [x, y] of this.#assumed.splice(assumed)) this.#known.get(x)?.delete(y);
    else if (assumed === 0) this.#assumed.length = 0;
    if (found !== null) known.set(b, found);
    return found;
  }

  #compare(a: Atom, b: Atom): Difference | null {
    const own = earliest(this.#bytesDifference(a, b), this.#referenceDifference(a.references, b.references));
    return own ?? this.#tableDifference(a, b);
  }

  #bytesDifference(a: Atom, b: Atom): Difference | null {
    const sizeA = a.end - a.start;
    const sizeB = b.end - b.start;
    if (a.bytes.length !== b.bytes.length && (a.bytes.length === 0 || b.bytes.length === 0)) {
      return { offset: 0, text: `was ${describeInitial(a)} and is now ${describeInitial(b)}` };
    }
    const common = Math.min(a.bytes.length, b.bytes.length);
    const filled = equalBytes(a.bytes, b.bytes) ? undefined : filledBits(a, b, this.#maskOf);
    if (filled !== undefined) {
      let at = firstDifference(a.bytes, b.bytes, filled);
      if (at < common && this.#lines !== undefined) {
        for (const [place, bits] of this.#lines.bitsOf(a, b)) filled[place] = (filled[place] ?? 0) | bits;
        at = firstDifference(a.bytes, b.bytes, filled);
      }
      if (at < common) return this.#differsFrom(at, b);
    }
    if (sizeA !== sizeB) return { offset: common, text: `has ${sizeB} bytes instead of ${sizeA}` };
    return null;
  }

  #differsFrom(at: number, { kind }: Atom): Difference {
    const offset = kind === "function" || kind === "code" ? at - (at % this.#instructionAlignment) : at;
    return { offset, text: `differs from byte ${offset} (0x${offset.toString(16)}) on` };
  }

  #referenceDifference(left: readonly Reference[], right: readonly Reference[]): Difference | null {
    const count = Math.min(left.length, right.length);
    for (let at = 0; at < count; at++) {
      const [x, y] = [left[at] as Reference, right[at] as Reference];
      if (x.offset !== y.offset || x.type !== y.type || !this.targetsEqual(x.target, y.target)) {
        const offset = Math.min(x.offset, y.offset);
        const isMoved = x.offset !== y.offset && this.targetsEqual(x.target, y.target);
        return { offset, text: describeReferences(x, y), isMoved };
      }
    }
    const extra = right[count] ?? left[count];
    if (extra === undefined) return null;
    return {
      offset: extra.offset,
      text: `${right.length > left.length ? "also refers" : "no longer refers"} to ${describeTarget(extra.target)}`,
    };
  }

  /** True when both lead to the same thing: the same correlated atom, the same outside symbol, or the same constant content. */
  targetsEqual(a: Target, b: Target): boolean {
    if (a.kind === "external" && b.kind === "atom") return this.#isShared(a, b);
    if (a.kind === "atom" && b.kind === "external") return this.#isShared(b, a);
    if (a.addend !== b.addend) return false;
    if (a.kind === "absolute" || b.kind === "absolute") return a.kind === b.kind;
    if (a.kind === "external" && b.kind === "external") return a.name === b.name;
    if (a.kind === "entry" && b.kind === "entry") return this.#entriesEqual(a.entry, b.entry);
    if (a.kind !== "atom" || b.kind !== "atom") return false;
    return this.atomsEqual(a.atom, b.atom);
  }

  /** True when one build refers to a global definition of its own unit, and the other to the same one of another unit. */
  #isShared(
    { name, addend }: Target & { kind: "external" },
    { atom, addend: fromStart }: Target & { kind: "atom" },
  ): boolean {
    const symbol = atom.symbols.find((other) => other.name === name && other.binding !== Binding.local);
    const isKnown = symbol !== undefined && this.#correlation.shared?.has(name) === true;
    return isKnown && symbol.value - atom.start + addend === fromStart;
  }

  atomsEqual(a: Atom, b: Atom): boolean {
    const paired = this.#correlation.patchedOf.get(a);
    const constant = a.kind === "rodata" && a.symbol?.binding === 0;
    // A local constant is what it holds: functions that read a changed one are changed themselves.
    if (paired === b) return !constant || this.#left.has(b.section.name) || this.difference(a, b) === null;
    if (paired !== undefined || this.#correlation.originalOf.has(b)) return false;
    if (a.kind !== b.kind) return false;
    if (isAnonymousConstant(a) || a.kind === "code" || constant) return this.difference(a, b) === null;
    if (isReport(a) && isReport(b)) return this.#sameReport(a, b);
    if (isWritable(a) && !isCorrelatable(a) && !isCorrelatable(b)) {
      return baseName(a.name) === baseName(b.name) && this.difference(a, b) === null;
    }
    if (!isWritable(a) || a.symbol !== undefined) return false;
    return this.difference(a, b) === null;
  }

  /** Which line a sanitizer reports does not change what the code does; the numbers in the names only count the places. */
  #sameReport(a: Atom, b: Atom): boolean {
    // A place begins with a pointer to the file's name, line and column; the description of a type has none.
    const location = b.references[0]?.offset === 0 ? { from: 8, to: 16 } : { from: 0, to: 0 };
    const areEqual =
      a.bytes.length === b.bytes.length &&
      b.bytes.every((byte, at) => byte === a.bytes[at] || (at >= location.from && at < location.to));
    return areEqual && this.#referenceDifference(a.references, b.references) === null;
  }

  #tableDifference(a: Atom, b: Atom): Difference | null {
    const left = this.#entries[0].get(a) ?? [];
    const right = this.#entries[1].get(b) ?? [];
    for (let at = 0; at < Math.max(left.length, right.length); at++) {
      const [x, y] = [left[at], right[at]];
      if (x === undefined || y === undefined || x.table !== y.table || !this.#sameEntry(x, y)) {
        const entry = (y ?? x) as TableEntry;
        return { offset: entry.place?.offset ?? 0, text: `has another entry in ${entry.table}` };
      }
    }
    return null;
  }

  /** True for equal entries of the same number about two atoms that stand for each other. */
  #entriesEqual(x: TableEntry, y: TableEntry): boolean {
    if (x.table !== y.table || !this.#sameEntry(x, y)) return false;
    return this.#numberOf(x, 0) === this.#numberOf(y, 1);
  }

  /** Which of the entries of its table about one atom it is; undefined for one that is about no code. */
  #numberOf(entry: TableEntry, side: 0 | 1): number | undefined {
    if (entry.place === undefined) return undefined;
    const tables = this.#tables[side];
    const known = this.#placed[side].get(entry.table) ?? entriesByAtom(tables, [entry.table]);
    this.#placed[side].set(entry.table, known);
    return known.get(entry.place.atom)?.indexOf(entry);
  }

  #sameEntry(x: TableEntry, y: TableEntry): boolean {
    const areEqual = Buffer.compare(x.bytes, y.bytes) === 0 || this.#areEqualBut(x, y, this.#lines?.bitsOfEntry(y));
    return areEqual && this.#referenceDifference(x.references, y.references) === null;
  }

  #areEqualBut(x: TableEntry, y: TableEntry, ignored: Bits | undefined): boolean {
    if (ignored === undefined || ignored.size === 0 || x.bytes.length !== y.bytes.length) return false;
    return y.bytes.every((byte, at) => ((byte ^ (x.bytes[at] as number)) & ~(ignored.get(at) ?? 0)) === 0);
  }
}

function earliest(a: Difference | null, b: Difference | null): Difference | null {
  if (a === null || b === null) return a ?? b;
  // Another target says more than the bytes of the same instruction; the same target further down only follows from them.
  return b.offset <= a.offset + 8 && b.isMoved !== true ? b : a;
}

function isReport({ symbol, section }: Atom): boolean {
  return symbol === undefined && isSanitizerData(section.name);
}

function describeInitial(atom: Atom): string {
  return atom.kind === "bss" ? "zero-initialised" : `initialised (${atom.section.name})`;
}

function describeReferences(before: Reference, after: Reference): string {
  const [old, fresh] = [describeTarget(before.target), describeTarget(after.target)];
  return old === fresh ? `refers to ${fresh} at another place` : `refers to ${fresh} instead of ${old}`;
}

/** A target for a person: a name, a quoted string, or a section. */
export function describeTarget(reference: Target): string {
  const target = seenThrough(reference);
  if (target.kind === "external") return target.name;
  if (target.kind === "absolute") return `the number ${target.addend}`;
  if (target.kind === "entry") return `an entry of ${target.entry.table}`;
  const { atom } = target;
  if (atom.kind === "string") return JSON.stringify(Buffer.from(atom.bytes).toString("latin1").replace(/\0+$/, ""));
  if (atom.kind === "code" && atom.symbol === undefined) return `code in ${atom.section.name}`;
  if (atom.symbol === undefined) return `a constant in ${atom.section.name}`;
  return atom.name;
}

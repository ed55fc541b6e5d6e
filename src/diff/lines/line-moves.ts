import { basename } from "node:path";
import { equalBytes } from "../../elf/bytes.ts";
import { type SourceLine, sourceLines } from "../../elf/line-table.ts";
import type { Atom, Reference, TableEntry } from "../atoms.ts";
import type { Correlation } from "../correlate.ts";
import { filledBits, firstDifference } from "../filled-bits.ts";
import { entriesByAtom } from "../special-sections/tables.ts";
import type { UnitObject } from "../unit-object.ts";
import { LineCalls } from "./line-calls.ts";
import { LineMap, type LinePair } from "./line-map.ts";
import { findLineOperands, type LineOperand } from "./line-operands.ts";
import { type Bits, bugLine, isMessageFunction, lineBits, textOf } from "./line-places.ts";

/** How the comparison takes numbers of source lines in code and data: as what they are, or as what a message says. */
export type LineRule = "strict" | "moved";

/** A difference between two builds of a function that may only repeat that a line moved. */
interface Candidate extends LinePair {
  /** Places in the functions whose lines it may have. */
  readonly places: readonly number[];
  /** Nothing but a line can be there. */
  readonly isCertain: boolean;
  /** Base name of the file; undefined where nothing tells it. */
  readonly file: string | undefined;
  readonly bits: Bits;
  /** The entry of `__bug_table`, or the operand. */
  readonly entry?: TableEntry;
  readonly operand?: LineOperand;
}

interface FunctionPair {
  readonly before: Atom;
  readonly after: Atom;
  readonly candidates: readonly Candidate[];
}

/** A call that spans lines begins above the line that the macro in it sees. */
const longestCall = 16;
const nothing: Bits = new Map();

/**
 * Knows which differences of two builds only repeat that lines of the source moved. A number counts as a line where the kernel has a line and nothing else
 * (the table of BUG() and WARN(), known parameters, structures with a source place), or where it goes to a call beside the name of its file or function;
 * and it has to be the line: the one that the line tables of both objects give for the place, or without them, one that fits a monotone map
 * which the other lines of the unit show. Everything else is a change.
 */
export class LineMoves {
  readonly #units: readonly [UnitObject, UnitObject];
  readonly #correlation: Correlation;
  readonly #maskOf: (type: number) => Uint8Array | undefined;
  readonly #bits = new Map<Atom, Map<number, number>>();
  readonly #entries = new Map<TableEntry, Bits>();
  readonly #moved = new Map<Atom, LinePair[]>();
  #isReady = false;

  constructor(original: UnitObject, patched: UnitObject, correlation: Correlation) {
    this.#units = [original, patched];
    this.#correlation = correlation;
    this.#maskOf = (type) => patched.arch.relocationMask(type, patched.elf.littleEndian);
  }

  /** Bits of an atom of the patched unit that only tell lines. */
  bitsOf(before: Atom, after: Atom): Bits {
    if (after.kind === "function") {
      if (this.#correlation.patchedOf.get(before) !== after) return nothing;
      this.#prepare();
      return this.#bits.get(after) ?? nothing;
    }
    const [left, right] = this.#units.map((unit, at) => lineBits(at === 0 ? before : after, unit.elf.littleEndian));
    return left === undefined || right === undefined ? nothing : right;
  }

  /** Bits of an entry of a table of the patched unit that only tell lines. */
  bitsOfEntry(after: TableEntry): Bits {
    this.#prepare();
    return this.#entries.get(after) ?? nothing;
  }

  /** By function of the patched unit, the lines in it that moved, in their order. */
  get moved(): ReadonlyMap<Atom, readonly LinePair[]> {
    this.#prepare();
    return this.#moved;
  }

  #prepare(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    const pairs = this.#collect();
    for (const [pair, accepted] of this.#accept(pairs)) {
      for (const candidate of accepted) {
        if (candidate.entry !== undefined) this.#entries.set(candidate.entry, candidate.bits);
        else {
          const bits = this.#bits.get(pair.after) ?? new Map<number, number>();
          for (const [at, each] of candidate.bits) bits.set(at, each);
          this.#bits.set(pair.after, bits);
        }
      }
      const moved = accepted.filter(hasMoved).map(({ from, to }) => ({ from, to }));
      const distinct = moved.filter((each, at) => moved.findIndex(({ from }) => from === each.from) === at);
      if (distinct.length > 0)
        this.#moved.set(
          pair.after,
          distinct.sort((a, b) => a.from - b.from),
        );
    }
  }

  #collect(): FunctionPair[] {
    const [original, patched] = this.#units;
    const [left, right] = [original, patched].map(({ tables }) => entriesByAtom(tables, ["__bug_table"]));
    const pairs: FunctionPair[] = [];
    for (const [before, after] of this.#correlation.patchedOf) {
      if (before.kind !== "function" || after.kind !== "function") continue;
      const entries = this.#bugCandidates(left?.get(before) ?? [], right?.get(after) ?? []);
      const operands = this.#differs(before, after) ? this.#operandCandidates(before, after) : [];
      if (entries.length + operands.length > 0) pairs.push({ before, after, candidates: [...entries, ...operands] });
    }
    return pairs;
  }

  #bugCandidates(left: readonly TableEntry[], right: readonly TableEntry[]): Candidate[] {
    if (left.length !== right.length) return [];
    const { littleEndian } = this.#units[1].elf;
    return right.flatMap((entry, at) => {
      const other = left[at] as TableEntry;
      const [before, after] = [bugLine(other, littleEndian), bugLine(entry, littleEndian)];
      const [file, fileBefore] = [nameOf(after?.file), nameOf(before?.file)];
      if (before === undefined || after === undefined || before.offset !== after.offset) return [];
      const place = entry.place?.offset;
      if (place === undefined || place !== other.place?.offset || file !== fileBefore) return [];
      const bits = new Map([0, 1].map((byte) => [after.offset + byte, 0xff]));
      return [{ from: before.line, to: after.line, places: [place], isCertain: true, file, bits, entry }];
    });
  }

  #operandCandidates(before: Atom, after: Atom): Candidate[] {
    const [original, patched] = this.#units;
    return findLineOperands([before, original], [after, patched]).map((operand) => ({
      from: operand.from,
      to: operand.to,
      places: [operand.call, ...operand.parts],
      isCertain: operand.evidence === "known",
      file: operand.file === undefined ? undefined : basename(operand.file),
      bits: operand.bits,
      operand,
    }));
  }

  /** True for functions of one length whose bytes differ outside of what relocations fill. */
  #differs(before: Atom, after: Atom): boolean {
    if (before.bytes.length !== after.bytes.length || before.references.length !== after.references.length)
      return false;
    if (equalBytes(before.bytes, after.bytes)) return false;
    const filled = filledBits(before, after, this.#maskOf);
    return firstDifference(before.bytes, after.bytes, filled) < filled.length;
  }

  /** What of the candidates are lines. */
  #accept(pairs: readonly FunctionPair[]): Map<FunctionPair, readonly Candidate[]> {
    const [first, second] = this.#units.map(({ elf }) => (elf.section(".debug_line")?.size ?? 0) > 0);
    if (first === true && second === true) return this.#acceptByTable(pairs);
    // Where one of them has lines, the other could have them: what is not certain stays open.
    return this.#acceptByMap(pairs, first === second);
  }

  #acceptByTable(pairs: readonly FunctionPair[]): Map<FunctionPair, readonly Candidate[]> {
    const places = pairs.flatMap((pair) =>
      pair.candidates
        .filter(hasMoved)
        .flatMap((candidate) => candidate.places.map((place) => ({ pair, candidate, place }))),
    );
    const [left, right] = this.#units.map(({ elf }, unit) =>
      sourceLines(
        elf,
        places.map(({ pair, place }) => {
          const { section, start } = unit === 0 ? pair.before : pair.after;
          return { section: section.index, offset: start + place };
        }),
      ),
    );
    // What did not move is no difference.
    const lines = new Set(pairs.flatMap(({ candidates }) => candidates.filter((each) => !hasMoved(each))));
    const handedOn = new Set<Candidate>();
    places.forEach(({ candidate }, at) => {
      const [before, after] = [left?.[at], right?.[at]];
      if (before === undefined || after === undefined) return;
      if (isLineOf(candidate, before, after)) lines.add(candidate);
      else if (isSameHeaderLine(before, after)) handedOn.add(candidate);
    });
    const calls = new LineCalls(this.#units);
    for (const { candidate } of places) {
      const { operand } = candidate;
      if (operand?.evidence === "calls" && lines.has(candidate) && !calls.show(operand)) lines.delete(candidate);
    }
    // gcc leaves one line for all of a function whose body it took from an equal one: there, the same line of the same file elsewhere has to do.
    const shown = new Set([...lines].map(placeOf));
    for (const { candidate } of places)
      if (candidate.isCertain && candidate.file !== undefined && shown.has(placeOf(candidate))) lines.add(candidate);
    // A known line that an inline function of a header hands on has that function's place in the tables: it has to move as the lines do that have their own.
    const maps = [...groupByFile([...lines]).values()].map((group) => new LineMap(group));
    const moved = maps.filter((map) => map.isMonotone && map.hasMoved);
    for (const candidate of handedOn)
      if (candidate.isCertain && moved.some((map) => map.fits([candidate]) && map.movedAlike(candidate)))
        lines.add(candidate);
    // An entry of the table of WARN() changes no code: where a macro ends far below its begin, the map has to do.
    for (const [file, group] of groupByFile(pairs.flatMap(({ candidates }) => candidates)))
      if (file !== undefined && new LineMap(group).isMonotone)
        for (const candidate of group) if (candidate.entry !== undefined) lines.add(candidate);
    return new Map(
      pairs.map((pair) => {
        const accepted = pair.candidates.filter((candidate) => lines.has(candidate));
        const isOneMap = [...groupByFile(accepted).values()].every((group) => new LineMap(group).isMonotone);
        return [pair, isOneMap ? accepted : []];
      }),
    );
  }

  /** Without line tables: one map for each file, shown by what can only be lines. */
  #acceptByMap(pairs: readonly FunctionPair[], takesNamed: boolean): Map<FunctionPair, readonly Candidate[]> {
    const all = pairs.flatMap(({ candidates }) => candidates);
    const certain = groupByFile(all.filter(({ isCertain }) => isCertain));
    const unnamed = certain.get(undefined) ?? [];
    certain.delete(undefined);
    const maps = [...certain].flatMap(([file, group]) => {
      // The table of WARN() first: an operand that does not fit it is the one to doubt.
      const entries = group.filter(({ entry }) => entry !== undefined);
      const shown = [group, entries].find((each) => new LineMap(each).isMonotone);
      return shown === undefined ? [] : [{ file, map: new LineMap(shown), group: shown }];
    });
    const moved = maps.filter(({ map }) => map.hasMoved);
    const accepted = new Set<Candidate>(maps.flatMap(({ group }) => group));
    const isShown =
      moved.length > 0
        ? moved.some(({ map }) => map.fits(unnamed))
        : certain.size === maps.length && new LineMap(unnamed).isMonotone;
    if (isShown) for (const candidate of unnamed) accepted.add(candidate);
    // A number that only stands beside a name has to move as lines do that are certain; where there are none, as all others of its kind.
    const named = all.filter(({ operand }) => takesNamed && operand?.evidence === "named");
    for (const candidate of named) {
      const shown = moved.filter(({ file }) => candidate.file === undefined || candidate.file === file);
      const isAlike = ({ map }: { readonly map: LineMap }): boolean =>
        map.fits([candidate]) && map.movedAlike(candidate);
      if (shown.length > 0 ? shown.some(isAlike) : certain.size === 0 && areLinesTogether(named, candidate))
        accepted.add(candidate);
    }
    // What only the format of a message tells of has to be among the lines that are certain, too.
    for (const candidate of all)
      if (takesNamed && candidate.operand?.evidence === "written")
        if (moved.some(({ map }) => map.spans(candidate) && map.fits([candidate]) && map.movedAlike(candidate)))
          accepted.add(candidate);
    return new Map(pairs.map((pair) => [pair, pair.candidates.filter((candidate) => accepted.has(candidate))]));
  }
}

/** True for code of an inline function in a header, which did not move. */
function isSameHeaderLine(before: SourceLine, after: SourceLine): boolean {
  return before.line === after.line && before.file === after.file && before.file.endsWith(".h");
}

function placeOf({ file, from, to }: Candidate): string {
  return `${file ?? ""}:${from} ${to}`;
}

function hasMoved({ from, to }: LinePair): boolean {
  return from !== to;
}

/** True when both numbers are as far from the lines of their place, on which a call may begin that ends some lines below. */
function isLineOf(candidate: Candidate, before: SourceLine, after: SourceLine): boolean {
  const [left, right] = [candidate.from - before.line, candidate.to - after.line];
  const file = basename(after.file);
  if (left !== right || basename(before.file) !== file) return false;
  if (candidate.file !== undefined && candidate.file !== file) return false;
  return left === 0 || (candidate.isCertain && left > 0 && left <= longestCall);
}

/** True for a number in a message, and for one of several, when all of them fit one map. */
function areLinesTogether(named: readonly Candidate[], { operand }: Candidate): boolean {
  const isMessage = operand !== undefined && isMessageFunction(operand.callee);
  return new LineMap(named).isMonotone && (isMessage || new Set(named.map(({ from }) => from)).size > 1);
}

function groupByFile(candidates: readonly Candidate[]): Map<string | undefined, Candidate[]> {
  const groups = new Map<string | undefined, Candidate[]>();
  for (const candidate of candidates) {
    const group = groups.get(candidate.file);
    if (group === undefined) groups.set(candidate.file, [candidate]);
    else group.push(candidate);
  }
  return groups;
}

function nameOf(file: Reference | undefined): string | undefined {
  const text = file === undefined ? undefined : textOf(file.target);
  return text === undefined ? undefined : basename(text);
}

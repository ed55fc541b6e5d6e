import { type Atom, isAnonymousConstant, type Reference } from "../diff/atoms.ts";
import { describeTarget } from "../diff/compare.ts";
import { baseName } from "../diff/names.ts";
import { ftraceRule } from "../diff/special-sections/special-sections.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import { formatAddress } from "../elf/bytes.ts";
import { Binding } from "../elf/constants.ts";
import { candidatesOf, describeAddress } from "./candidates.ts";
import { homeProblem, isContentMeaningful, meaningfulBits } from "./data-proof.ts";
import { entryOffset } from "./entry-offset.ts";
import { Findings, type Mismatch, type MovedFunction } from "./findings.ts";
import { linkerName } from "./linker-names.ts";
import type { BehindPadding } from "./orc-proof.ts";
import { TableProof } from "./table-proof.ts";
import type { PlaceValue, TargetObject } from "./target-object.ts";

/** What matched code has shown so far. */
export interface Known {
  readonly atoms: ReadonlyMap<Atom, number>;
  readonly externals: ReadonlyMap<string, PlaceValue>;
  /** Functions that were compared instruction by instruction: a place in one is not at the same distance from its start in the target. */
  readonly moved: ReadonlyMap<Atom, MovedFunction>;
}

/** Compares atoms of the original with the target: content, what it refers to, what tables say about it, and all names of it. */
export class AtomComparer {
  readonly #unit: UnitObject;
  readonly #target: TargetObject;
  readonly #known: Known;
  readonly #tables: TableProof;

  constructor(unit: UnitObject, target: TargetObject, known: Known) {
    this.#unit = unit;
    this.#target = target;
    this.#known = known;
    this.#tables = new TableProof(unit, target, (reference, value, tail, findings) =>
      this.checkTarget(reference, value, tail, findings),
    );
  }

  /** The first difference of a function at an address of the target. */
  compareFunction(atom: Atom, address: number, findings: Findings): Mismatch | undefined {
    return (
      this.#compareAtom(atom, address, findings) ??
      this.#roomProblem(atom, address) ??
      this.#placement(atom, address, (offset) => offset)
    );
  }

  /**
   * The same for a function whose instructions were found equal one by one.
   * @param theirs by offset in the function, that in the target.
   * @param behind where code goes on behind padding.
   */
  compareMoved(
    atom: Atom,
    address: number,
    length: number,
    theirs: (offset: number) => number | undefined,
    findings: Findings,
    behind: BehindPadding,
  ): Mismatch | undefined {
    const start = address - entryOffset(atom);
    const places = new Set(atom.references.map(({ offset }) => theirs(offset)));
    const extra = this.#target.placesIn?.(start, length)?.find((place) => !places.has(place - start));
    if (extra !== undefined) return { offset: extra - start, text: this.#extraPlace(extra) };
    return (
      this.#tables.compare(atom, start, length, theirs, findings, behind) ?? this.#placement(atom, address, theirs)
    );
  }

  /** The difference of data of the original and the target at an address; undefined when there is none. */
  contentProblem(atom: Atom, address: number, findings: Findings): string | undefined {
    return this.#checkNamed(atom, address, findings);
  }

  /** Offsets in a function and in the target's that a table names. */
  namedOffsets(
    atom: Atom,
    start: number,
    length: number,
  ): { readonly ours: Set<number>; readonly theirs: Set<number> } {
    return { ours: this.#tables.namedOffsets(atom), theirs: this.#tables.namedOffsetsThere(start, length) };
  }

  /** Compares the bytes of one atom, what its places hold, and what tables say. */
  #compareAtom(atom: Atom, address: number, findings: Findings): Mismatch | undefined {
    const found = this.#compareBytes(atom, address, findings);
    if (found !== undefined || !isCode(atom)) return found;
    const start = address - entryOffset(atom);
    return this.#tables.compare(atom, start, atom.end - atom.start, (offset) => offset, findings);
  }

  #compareBytes(atom: Atom, address: number, findings: Findings): Mismatch | undefined {
    const start = address - entryOffset(atom);
    const size = atom.end - atom.start;
    const theirs = this.#target.bytesAt(start, size) ?? this.#zeros(atom, start, size);
    if (theirs === undefined)
      return {
        offset: 0,
        text: `${this.#target.name} holds no ${isCode(atom) ? "code" : "data"} at ${formatAddress(address)}`,
      };
    const ours = atom.bytes.length === 0 ? new Uint8Array(size) : atom.bytes;
    const bits = meaningfulBits(atom);
    let at = 0;
    for (const reference of atom.references) {
      const width = this.#unit.arch.relocationWidth(reference.type);
      if (width === undefined)
        return { offset: reference.offset, text: `relocation type ${reference.type} is unknown` };
      const different = firstDifference(ours, theirs, at, reference.offset, bits);
      if (different !== undefined) return different;
      if (width > 0) {
        const problem = this.#referenceProblem(atom, reference, start + reference.offset, width, findings);
        if (problem !== undefined) return { offset: reference.offset, text: problem };
      }
      at = Math.max(at, reference.offset + width);
    }
    return firstDifference(ours, theirs, at, ours.length, bits) ?? this.#extraReference(atom, start, size);
  }

  #referenceProblem(
    atom: Atom,
    reference: Reference,
    place: number,
    width: number,
    findings: Findings,
  ): string | undefined {
    const value = this.#target.valueAt(place, width, this.#unit.arch.isPcRelative(reference.type));
    if (value === undefined) return "nothing is referred to here in the target";
    findings.record?.place(atom, reference, value, width);
    return this.checkTarget(reference, value, this.tailOf(atom, reference), findings);
  }

  /** What the addend of a reference leaves out: on x86 the bytes from its place to the end of the instruction. */
  tailOf(atom: Atom, { offset, type }: Reference): number {
    if (!isCode(atom) || !this.#unit.arch.isPcRelative(type)) return 0;
    return this.#unit.arch.instructionTail(atom.bytes, offset, type);
  }

  /** A relocation of the target where the original has none: the bytes are equal, and what runs is not. */
  #extraReference(atom: Atom, start: number, size: number): Mismatch | undefined {
    const places = this.#target.placesIn?.(start, size);
    if (places === undefined || places.length === 0) return undefined;
    const ours = new Set(atom.references.map(({ offset }) => offset));
    const extra = places.find((place) => !ours.has(place - start));
    return extra === undefined ? undefined : { offset: extra - start, text: this.#extraPlace(extra) };
  }

  #extraPlace(place: number): string {
    const value =
      this.#target.valueAt(place, 8, false) ??
      this.#target.valueAt(place, 4, true) ??
      this.#target.valueAt(place, 4, false);
    const name =
      value?.kind === "external"
        ? value.name
        : value?.kind === "address"
          ? describeAddress(this.#target, value.address)
          : "something";
    return `refers to ${name} in the target and to nothing here`;
  }

  /** What memory without content in the file holds; an object that does not tell has it where the original has. */
  #zeros({ kind }: Atom, start: number, size: number): Uint8Array | undefined {
    return (this.#target.isZeroAt?.(start, size) ?? kind === "bss") ? new Uint8Array(size) : undefined;
  }

  /** Behind the function there must be nothing up to the next symbol but what the assembler and the linker fill gaps with. */
  #roomProblem(atom: Atom, address: number): Mismatch | undefined {
    const size = atom.end - atom.start - entryOffset(atom);
    const room = this.#target.roomAt(address) ?? 0;
    if (room <= size) return undefined;
    const rest = this.#target.bytesAt(address + size, room - size);
    if (rest === undefined) return undefined;
    const fill = this.#unit.arch.codeFillLength(rest);
    if (fill === rest.length || this.#isFunction(address + size + fill, rest.subarray(fill))) return undefined;
    return { offset: size, text: `ends here, and goes on in the target for ${room - size} bytes` };
  }

  /**
   * True for the start of a function. One without a symbol is what is left of a weak function in whose place another unit's is: the code stays in the
   * image, and so does its place of ftrace.
   */
  #isFunction(address: number, code: Uint8Array): boolean {
    const at = this.#unit.arch.entryCallPlace?.(code);
    if (at === undefined || modulo(address, functionAlignment) !== 0) return false;
    const isOwn = ({ kind, symbol }: Atom): boolean => kind === "function" && symbol?.binding === Binding.weak;
    const owns = this.#unit.atoms.filter(isOwn);
    if (owns.some((own) => this.#compareBytes(own, address, new Findings()) === undefined)) return true;
    const sites = this.#target.tableEntries?.(ftraceRule, undefined, address, address + at + 1);
    if (sites !== undefined && sites.length > 0) return true;
    const call = this.#target.valueAt(address + at + 1, 4, true);
    if (call?.kind === "external") return call.name === "__fentry__";
    return (
      call?.kind === "address" && this.#target.symbolsAt(call.address + 4).some(({ name }) => name === "__fentry__")
    );
  }

  /** Kind of memory, and all names of an atom, at an address. */
  #placement(atom: Atom, address: number, theirs: (offset: number) => number | undefined): Mismatch | undefined {
    const section = this.#target.sectionAt?.(address);
    const home = section === undefined ? undefined : homeProblem(atom, section);
    if (home !== undefined) return { offset: 0, text: home };
    const start = address - entryOffset(atom);
    for (const symbol of atom.symbols) {
      if (symbol === atom.symbol || symbol.binding === Binding.weak) continue;
      const named = this.#target.symbolsNamed(symbol.name);
      const offset = theirs(symbol.value - atom.start);
      const isThere = named.some((other) => offset !== undefined && other.address === this.running(start + offset));
      if (named.length === 0 || isThere) continue;
      const others = this.#target
        .symbolsAt(named[0]?.address ?? 0)
        .flatMap(({ name }) => (name === symbol.name ? [] : [name]));
      const their = `${symbol.name} names ${others.length === 0 ? "something else" : others.join("/")} in the target`;
      return { offset: symbol.value - atom.start, text: `${their} and a place in ${atom.name} here` };
    }
    return undefined;
  }

  running(address: number): number {
    return this.#target.canonical?.(address) ?? address;
  }

  /**
   * Holds what the target refers to against what the original refers to.
   * @param tail what both addends leave out; see {@link tailOf}.
   * @returns what is wrong.
   */
  checkTarget(reference: Reference, value: PlaceValue, tail: number, findings: Findings): string | undefined {
    const { target } = reference;
    if (target.kind === "absolute") {
      const number = value.kind === "absolute" ? value.value : value.kind === "address" ? value.address : undefined;
      return number === target.addend
        ? undefined
        : `holds ${number === undefined ? "a symbol" : `the number ${number}`} in the target and the number ${target.addend} here`;
    }
    if (value.kind === "absolute")
      return `holds the number ${value.value} in the target and refers to ${describeTarget(target)} here`;
    if (target.kind === "external") return this.#checkExternal(target, value, findings);
    if (target.kind === "entry") {
      if (value.kind === "external")
        return `refers to ${value.name} in the target and to an entry of ${target.entry.table} here`;
      return this.#tables.referredProblem(target.entry, value.address - target.addend, findings);
    }
    const { atom } = target;
    if (value.kind === "external") {
      const isSame = value.name === atom.symbol?.name && value.addend === target.addend - entryOffset(atom);
      return isSame ? undefined : `refers to ${value.name} in the target and to ${atom.name} here`;
    }
    const { moved } = findings;
    if (moved?.atom === atom) {
      moved.pending.push({ from: target.addend + tail, to: value.address + tail - moved.start });
      return undefined;
    }
    const shifted = this.#known.moved.get(atom);
    const from = target.addend + tail;
    if (shifted !== undefined && from !== entryOffset(atom)) {
      const isPlace = shifted.isPlace?.(from, value.address + tail - shifted.start) === true;
      return isPlace ? undefined : `refers to another place in ${atom.name} in the target`;
    }
    const base = value.address - target.addend;
    if (isAnonymousConstant(atom) || (atom.kind === "code" && atom.symbol === undefined))
      return this.#checkContent(atom, base, findings);
    return this.#checkNamed(atom, this.running(base + entryOffset(atom)), findings);
  }

  #checkExternal(
    { name, weak, addend }: { readonly name: string; readonly weak: boolean; readonly addend: number },
    value: PlaceValue & { kind: "address" | "external" },
    findings: Findings,
  ): string | undefined {
    if (value.kind === "external") {
      if (value.name !== name) return `refers to ${value.name} in the target and to ${name} here`;
      if (value.addend !== addend)
        return `refers to ${withOffset(name, value.addend - addend)} in the target and to ${name} here`;
      findings.externals.set(name, value);
      return undefined;
    }
    const address = this.running(value.address - addend);
    const known = this.#known.externals.get(name) ?? findings.externals.get(name);
    if (known?.kind === "address" && known.address !== address) {
      return `${name} is at ${formatAddress(address)} here and at ${formatAddress(known.address)} elsewhere`;
    }
    if (known !== undefined)
      return known.kind === "address"
        ? undefined
        : `refers to ${describeAddress(this.#target, address)} in the target and to ${name} here`;
    const { visible, hidden } = linkerName(name, this.#target);
    const isHere = [...visible, ...hidden].some((symbol) => symbol.address === address);
    const isAbsent = weak && address === 0;
    // A name that the target's table does not list may be any, but not one at which it lists others.
    const isListed = visible.length > 0 || this.#target.placesIn !== undefined;
    const isOther = !isHere && (isListed || this.#target.symbolsAt(address).length > 0);
    if (isOther && !isAbsent)
      return `refers to ${describeAddress(this.#target, address)} in the target and to ${name} here`;
    findings.externals.set(name, { kind: "address", address });
    return undefined;
  }

  #checkNamed(atom: Atom, address: number, findings: Findings): string | undefined {
    const known = this.#known.atoms.get(atom) ?? findings.atoms.get(atom);
    if (known !== undefined) {
      return known === address
        ? undefined
        : `${atom.name} is at ${formatAddress(address)} here and at ${formatAddress(known)} elsewhere`;
    }
    const here = this.#target.symbolsAt(address);
    const named = atom.symbol === undefined || here.some((symbol) => baseName(symbol.name) === atom.base);
    if (!named && (here.length > 0 || candidatesOf(this.#target, atom).length > 0)) {
      return `refers to ${describeAddress(this.#target, address)} in the target and to ${atom.name} here`;
    }
    // What refers to itself, as an empty list does, is where it is.
    findings.atoms.set(atom, address);
    // A weak symbol may be another unit's in the linked kernel; the name at the address has said that it is the one in force.
    const isOverridden =
      named && atom.symbol?.binding === Binding.weak && here.some(({ binding }) => binding !== "weak");
    if (isCode(atom) || isOverridden) return undefined;
    const problem = this.#checkContent(atom, address, findings);
    if (problem !== undefined) return problem;
    const placement = this.#placement(atom, address, (offset) => offset);
    return placement?.text;
  }

  #checkContent(atom: Atom, address: number, findings: Findings): string | undefined {
    if (!isContentMeaningful(atom) || !findings.visit(atom, address)) return undefined;
    findings.record?.content(atom);
    if (atom.kind === "string") {
      const theirs = this.#target.bytesAt(address, atom.bytes.length);
      if (theirs !== undefined && Buffer.compare(theirs, atom.bytes) === 0) return undefined;
      return `the text ${JSON.stringify(sanitise(atom.bytes))} is ${theirs === undefined ? "not there" : JSON.stringify(sanitise(theirs))} in the target`;
    }
    const mismatch = this.#compareAtom(atom, address, findings);
    return mismatch === undefined
      ? undefined
      : `${atom.name} differs at +0x${mismatch.offset.toString(16)}: ${mismatch.text}`;
  }
}

/** Functions of a kernel begin at multiples of this, except for those in sections for unlikely code. */
const functionAlignment = 16;

function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}

function isCode({ kind }: Atom): boolean {
  return kind === "function" || kind === "code";
}

function firstDifference(
  ours: Uint8Array,
  theirs: Uint8Array,
  from: number,
  to: number,
  bits: ((offset: number) => number) | undefined,
): Mismatch | undefined {
  for (let at = from; at < to; at++) {
    const differing = (ours[at] as number) ^ (theirs[at] as number);
    if (differing !== 0 && (bits === undefined || (differing & bits(at)) !== 0)) {
      return {
        offset: at,
        text: `byte 0x${at.toString(16)} is ${hex(theirs[at])} in the target and ${hex(ours[at])} here`,
      };
    }
  }
  return undefined;
}

function hex(byte: number | undefined): string {
  return (byte ?? 0).toString(16).padStart(2, "0");
}

function sanitise(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString("latin1");
}

function withOffset(name: string, offset: number): string {
  return `${name}${offset < 0 ? "-" : "+"}${Math.abs(offset)}`;
}

import { type Atom, isAnonymousConstant, type Reference } from "../diff/atoms.ts";
import { baseName } from "../diff/names.ts";
import { classOf, isFilledAfterLink } from "../diff/section-classes.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import { formatAddress } from "../elf/bytes.ts";
import { Binding } from "../elf/constants.ts";
import { anotherSymbol, linkerName } from "./linker-names.ts";
import { compareLockstep } from "./lockstep.ts";
import type { PlaceValue, TargetObject, TargetSymbol } from "./target-object.ts";
import { inAnotherUnit, misplaced, type PlacedFunction } from "./unit-placement.ts";

/** Why a function of the original is not the code of the target. */
export interface Mismatch {
  /** Offset in the function of the first difference. */
  readonly offset: number;
  /** One clause, such as `byte 0x4a is 75 in the image and 74 here`. */
  readonly text: string;
}

/** What matching found out about the symbols of a unit. */
export interface Proof {
  readonly target: TargetObject;
  /** Address of an atom of the original unit, where matched code shows it. */
  addressOf(atom: Atom): number | undefined;
  /** Value of an outside symbol, where matched code shows it; an external name in a module that does not define it. */
  valueOf(external: string): PlaceValue | undefined;
  /** True when the bytes of a function were found equal. */
  isMatched(atom: Atom): boolean;
  mismatchOf(atom: Atom): Mismatch | undefined;
  readonly matchedCount: number;
  readonly functionCount: number;
}

/** What one comparison learnt; taken over only when all of it holds. */
class Findings {
  readonly atoms = new Map<Atom, number>();
  readonly externals = new Map<string, PlaceValue>();
  readonly visited = new Set<Atom>();
}

/**
 * Run-pre matching (Arnold and Kaashoek, "Ksplice", EuroSys 2009) against the file that the kernel was booted from: every function of the original
 * unit is compared with the target byte for byte outside of its relocation places, and what those places hold gives the addresses of what they
 * refer to. A function that several symbols could be is settled by what others found out, or stays open.
 */
export async function matchUnit(unit: UnitObject, target: TargetObject): Promise<Proof> {
  const elsewhere = new Map<Atom, Map<number, Mismatch>>();
  for (;;) {
    const matcher = new Matcher(unit, target, elsewhere);
    await matcher.run();
    const outside = misplaced(unit, matcher.placed(), target);
    if (outside.length === 0) return matcher;
    // What was read out of another unit's code is forgotten.
    for (const { atom, address } of outside) {
      const known = elsewhere.get(atom) ?? new Map<number, Mismatch>();
      elsewhere.set(atom, known.set(address, inAnotherUnit(address)));
    }
  }
}

class Matcher implements Proof {
  readonly target: TargetObject;
  readonly #unit: UnitObject;
  readonly #atoms = new Map<Atom, number>();
  readonly #externals = new Map<string, PlaceValue>();
  readonly #matched = new Set<Atom>();
  readonly #mismatches = new Map<Atom, Mismatch>();
  readonly functionCount: number;
  /** The unit's own functions, and those that run at boot only: they too show where things are. */
  readonly #functions: readonly Atom[];

  /** Places that hold equal code and belong to another unit. */
  readonly #elsewhere: ReadonlyMap<Atom, ReadonlyMap<number, Mismatch>>;

  constructor(unit: UnitObject, target: TargetObject, elsewhere: ReadonlyMap<Atom, ReadonlyMap<number, Mismatch>>) {
    this.#unit = unit;
    this.target = target;
    this.#elsewhere = elsewhere;
    this.#functions = unit.atoms.filter((atom) => atom.kind === "function");
    this.functionCount = this.#functions.filter(staysInMemory).length;
  }

  addressOf(atom: Atom): number | undefined {
    return this.#atoms.get(atom);
  }

  valueOf(external: string): PlaceValue | undefined {
    return this.#externals.get(external);
  }

  isMatched(atom: Atom): boolean {
    return this.#matched.has(atom);
  }

  mismatchOf(atom: Atom): Mismatch | undefined {
    return this.#mismatches.get(atom);
  }

  /** All functions that were found equal, with their addresses. */
  placed(): PlacedFunction[] {
    return [...this.#matched].map((atom) => ({ atom, address: this.#atoms.get(atom) as number }));
  }

  get matchedCount(): number {
    return [...this.#matched].filter(staysInMemory).length;
  }

  async run(): Promise<void> {
    let open: readonly Atom[] = this.#functions;
    const rejected = new Map<Atom, Mismatch>();
    for (let progress = true; progress && open.length > 0; ) {
      progress = false;
      const still: Atom[] = [];
      for (const atom of open) {
        const { fitting, mismatch } = this.#tryCandidates(atom);
        if (mismatch !== undefined) rejected.set(atom, mismatch);
        if (fitting.length === 1) {
          const [only] = fitting as [Fit];
          this.#commit(atom, only);
          progress = true;
        } else still.push(atom);
      }
      open = still;
      // Functions of equal code that only tables of pointers tell apart.
      if (!progress && open.length > 0) progress = this.#readPointers(new Set(open));
    }
    for (const atom of open) {
      const mismatch = rejected.get(atom);
      if (mismatch !== undefined) await this.#tryLockstep(atom, mismatch);
      else this.#mismatches.set(atom, this.#withoutFit(atom));
    }
  }

  /** Takes addresses of open functions from the initial content of data whose place is known. Returns whether it found one. */
  #readPointers(open: ReadonlySet<Atom>): boolean {
    let found = false;
    for (const atom of this.#unit.atoms) {
      const address = this.#atoms.get(atom);
      if (address === undefined || (atom.kind !== "data" && atom.kind !== "rodata")) continue;
      for (const { offset, type, target } of atom.references) {
        if (target.kind !== "atom" || !open.has(target.atom) || this.#atoms.has(target.atom)) continue;
        const width = this.#unit.arch.relocationWidth(type) ?? 0;
        const place = address - entryOffset(atom) + offset;
        const value = width === 0 ? undefined : this.target.valueAt(place, width, this.#unit.arch.isPcRelative(type));
        if (value?.kind !== "address") continue;
        const inferred = this.#running(value.address - target.addend + entryOffset(target.atom));
        if (!candidatesOf(this.target, target.atom).includes(inferred)) continue;
        this.#atoms.set(target.atom, inferred);
        found = true;
      }
    }
    return found;
  }

  #withoutFit(atom: Atom): Mismatch {
    const count = candidatesOf(this.target, atom).length;
    if (count === 0) return { offset: 0, text: `${this.target.name} has no symbol named ${atom.name}` };
    return {
      offset: 0,
      text: `${count} symbols named ${atom.name} hold equal code, and nothing shows which one this is`,
    };
  }

  #commit(atom: Atom, { address, findings }: Fit): void {
    this.#matched.add(atom);
    this.#atoms.set(atom, address);
    for (const [found, at] of findings.atoms) this.#atoms.set(found, at);
    for (const [name, value] of findings.externals) this.#externals.set(name, value);
  }

  #tryCandidates(atom: Atom): { fitting: Fit[]; mismatch: Mismatch | undefined } {
    const inferred = this.#atoms.get(atom);
    const addresses = inferred === undefined ? candidatesOf(this.target, atom) : [inferred];
    const fitting: Fit[] = [];
    let mismatch: Mismatch | undefined;
    for (const address of addresses) {
      const findings = new Findings();
      findings.atoms.set(atom, address);
      const found = this.#anothers(atom, address) ?? this.#compareAtom(atom, address, findings);
      if (found === undefined) fitting.push({ address, findings });
      else if (mismatch === undefined || found.offset > mismatch.offset) mismatch = found;
    }
    return { fitting, mismatch: fitting.length === 0 ? mismatch : undefined };
  }

  #anothers(atom: Atom, address: number): Mismatch | undefined {
    const shipped = this.target.shippedAt?.(address)?.address ?? address;
    return this.#elsewhere.get(atom)?.get(shipped) ?? anotherSymbol(atom, address, this.target);
  }

  /** The few functions whose branches the shipped build encodes in another length (DESIGN.md §7) are compared instruction by instruction. */
  async #tryLockstep(atom: Atom, mismatch: Mismatch): Promise<void> {
    const inferred = this.#atoms.get(atom);
    const addresses = inferred === undefined ? candidatesOf(this.target, atom) : [inferred];
    const fitting: Fit[] = [];
    for (const address of addresses) {
      const findings = new Findings();
      findings.atoms.set(atom, address);
      const room = this.target.roomAt(address);
      if (room === undefined || this.#anothers(atom, address) !== undefined) continue;
      const equal = await compareLockstep(
        atom,
        address,
        room,
        this.target,
        this.#unit.arch,
        (reference, value) => this.#checkTarget(reference, value, findings) === undefined,
      );
      if (equal) fitting.push({ address, findings });
    }
    if (fitting.length === 1) this.#commit(atom, fitting[0] as Fit);
    else this.#mismatches.set(atom, mismatch);
  }

  /** Compares the bytes of one atom and what its places hold. */
  #compareAtom(atom: Atom, address: number, findings: Findings): Mismatch | undefined {
    const start = address - entryOffset(atom);
    const theirs = this.target.bytesAt(start, atom.bytes.length);
    if (theirs === undefined)
      return { offset: 0, text: `${this.target.name} holds no code at ${formatAddress(address)}` };
    let at = 0;
    for (const reference of atom.references) {
      const width = this.#unit.arch.relocationWidth(reference.type);
      if (width === undefined)
        return { offset: reference.offset, text: `relocation type ${reference.type} is unknown` };
      const different = firstDifference(atom.bytes, theirs, at, reference.offset);
      if (different !== undefined) return different;
      if (width > 0) {
        const value = this.target.valueAt(
          start + reference.offset,
          width,
          this.#unit.arch.isPcRelative(reference.type),
        );
        const problem =
          value === undefined
            ? "nothing is referred to here in the target"
            : this.#checkTarget(reference, value, findings);
        if (problem !== undefined) return { offset: reference.offset, text: problem };
      }
      at = Math.max(at, reference.offset + width);
    }
    return firstDifference(atom.bytes, theirs, at, atom.bytes.length);
  }

  /** Holds what the target refers to against what the original refers to; returns what is wrong. */
  #checkTarget(reference: Reference, value: PlaceValue, findings: Findings): string | undefined {
    const { target } = reference;
    if (target.kind === "absolute") return undefined;
    if (target.kind === "external") return this.#checkExternal(target.name, target.addend, value, findings);
    const { atom } = target;
    if (value.kind === "external") {
      return value.name === atom.symbol?.name
        ? undefined
        : `refers to ${value.name} in the target and to ${atom.name} here`;
    }
    const base = value.address - target.addend;
    const address = this.#running(base + entryOffset(atom));
    if (isAnonymousConstant(atom) || (atom.kind === "code" && atom.symbol === undefined))
      return this.#checkContent(atom, base, findings);
    return this.#checkNamed(atom, address, findings);
  }

  #running(address: number): number {
    return this.target.canonical?.(address) ?? address;
  }

  #checkExternal(name: string, addend: number, value: PlaceValue, findings: Findings): string | undefined {
    if (value.kind === "external") {
      if (value.name !== name) return `refers to ${value.name} in the target and to ${name} here`;
      if (value.addend !== addend)
        return `refers to ${withOffset(name, value.addend - addend)} in the target and to ${name} here`;
      findings.externals.set(name, value);
      return undefined;
    }
    const address = this.#running(value.address - addend);
    const known = this.#externals.get(name) ?? findings.externals.get(name);
    if (known?.kind === "address" && known.address !== address) {
      return `${name} is at ${formatAddress(address)} here and at ${formatAddress(known.address)} elsewhere`;
    }
    if (known === undefined) {
      const { visible, hidden } = linkerName(name, this.target);
      if (visible.length > 0 && ![...visible, ...hidden].some((symbol) => symbol.address === address)) {
        return `refers to ${describeAddress(this.target, address)} in the target and to ${name} here`;
      }
      findings.externals.set(name, { kind: "address", address });
    }
    return undefined;
  }

  #checkNamed(atom: Atom, address: number, findings: Findings): string | undefined {
    const known = this.#atoms.get(atom) ?? findings.atoms.get(atom);
    if (known !== undefined) {
      return known === address
        ? undefined
        : `${atom.name} is at ${formatAddress(address)} here and at ${formatAddress(known)} elsewhere`;
    }
    const named = this.target.symbolsAt(address).some((symbol) => baseName(symbol.name) === atom.base);
    if (!named && candidatesOf(this.target, atom).length > 0) {
      return `refers to ${describeAddress(this.target, address)} in the target and to ${atom.name} here`;
    }
    // A weak constant may be another unit's in the linked kernel; the name at the address has said that it is the one in force.
    const isOverridden = named && atom.symbol?.binding === Binding.weak;
    if (atom.kind === "rodata" && !isFilledAfterLink(atom.section) && !isOverridden) {
      const problem = this.#checkContent(atom, address, findings);
      if (problem !== undefined) return problem;
    }
    findings.atoms.set(atom, address);
    return undefined;
  }

  #checkContent(atom: Atom, address: number, findings: Findings): string | undefined {
    if (findings.visited.has(atom)) return undefined;
    findings.visited.add(atom);
    if (atom.kind === "string") {
      const theirs = this.target.bytesAt(address, atom.bytes.length);
      if (theirs !== undefined && Buffer.compare(theirs, atom.bytes) === 0) return undefined;
      return `the text ${JSON.stringify(printable(atom.bytes))} is ${theirs === undefined ? "not there" : JSON.stringify(printable(theirs))} in the target`;
    }
    const mismatch = this.#compareAtom(atom, address, findings);
    return mismatch === undefined
      ? undefined
      : `${atom.name} differs at +0x${mismatch.offset.toString(16)}: ${mismatch.text}`;
  }
}

function staysInMemory(atom: Atom): boolean {
  return classOf(atom.section) === "content";
}

interface Fit {
  readonly address: number;
  readonly findings: Findings;
}

/** Bytes of a prefix (`__pfx_`, padding) before the symbol that names the atom. */
function entryOffset(atom: Atom): number {
  return atom.symbol === undefined ? 0 : atom.symbol.value - atom.start;
}

/** Addresses that an atom's name could mean; compilers number clones and statics anew, so neighbouring numbers are tried when the name is missing. */
function candidatesOf(target: TargetObject, atom: Atom): number[] {
  const exact = target.symbolsNamed(atom.name);
  const symbols: readonly TargetSymbol[] =
    exact.length > 0 || atom.base === atom.name ? exact : renumbered(target, atom.name);
  return [...new Set(symbols.map(({ address }) => address))];
}

/** How far the number of a clone or a static is looked for beside the one that this compiler chose. */
const renumberRange = 64;

function renumbered(target: TargetObject, name: string): TargetSymbol[] {
  const match = /^(.*\.)(\d+)((?:\.[a-z]+)*)$/.exec(name);
  if (match === null) return [];
  const [, head, number, tail] = match as unknown as [string, string, string, string];
  const found: TargetSymbol[] = [];
  for (let other = Math.max(0, Number(number) - renumberRange); other <= Number(number) + renumberRange; other++) {
    found.push(...target.symbolsNamed(`${head}${other}${tail}`));
  }
  return found;
}

function firstDifference(ours: Uint8Array, theirs: Uint8Array, from: number, to: number): Mismatch | undefined {
  for (let at = from; at < to; at++) {
    if (ours[at] !== theirs[at]) {
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

function printable(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString("latin1");
}

function withOffset(name: string, offset: number): string {
  return `${name}${offset < 0 ? "-" : "+"}${Math.abs(offset)}`;
}

function describeAddress(target: TargetObject, address: number): string {
  const names = target.symbolsAt(address).map(({ name }) => name);
  return names.length > 0 ? names.join("/") : formatAddress(address);
}

import type { Atom } from "../diff/atoms.ts";
import { isOutlinedPart } from "../diff/names.ts";
import { classOf } from "../diff/special-sections/section-classes.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import { Binding } from "../elf/constants.ts";
import { AtomComparer, type Known } from "./atom-comparer.ts";
import { candidatesOf, renumberedCandidates } from "./candidates.ts";
import { ComparisonRecord, type FunctionRecord } from "./comparison-record.ts";
import { entryOffset } from "./entry-offset.ts";
import { Findings, type Mismatch, type MovedFunction } from "./findings.ts";
import { anotherSymbol } from "./linker-names.ts";
import { compareLockstep } from "./lockstep.ts";
import type { PlaceValue, TargetObject } from "./target-object.ts";
import { inAnotherUnit, misplaced, type PlacedFunction } from "./unit-placement.ts";
import { sizeProblem } from "./variable-size.ts";

export type { Mismatch } from "./findings.ts";

/** What matching found out about the symbols of a unit. */
export interface Proof {
  readonly target: TargetObject;
  /** Address of an atom of the original unit, where matched code shows it. */
  addressOf(atom: Atom): number | undefined;
  /** Value of an outside symbol, where matched code shows it; an external name in a module that does not define it. */
  valueOf(external: string): PlaceValue | undefined;
  /** True when a function was found equal: its code, what it refers to, what the tables say about it, and the parts of it that are out of line. */
  isMatched(atom: Atom): boolean;
  mismatchOf(atom: Atom): Mismatch | undefined;
  /**
   * What tells a function or variable of the original from the one of that name in the target, for code that reaches it; undefined where nothing does,
   * or where another unit's is in force.
   */
  reachProblem(atom: Atom): Mismatch | undefined;
  /** Compares a matched function once more, and tells what was compared and how each masked place was confirmed; undefined for one that is not matched. */
  recordOf(atom: Atom): Promise<FunctionRecord | undefined>;
  /** True for the atoms of the unit that was matched. */
  owns(atom: Atom): boolean;
  readonly matchedCount: number;
  readonly functionCount: number;
}

/**
 * Run-pre matching (Arnold and Kaashoek, "Ksplice", EuroSys 2009) against the file that the kernel was booted from: every function of the original
 * unit is compared with the target byte for byte outside of its relocation places, and what those places hold gives the addresses of what they
 * refer to. What it refers to is compared too: constants, the initial content of variables, and what the tables of the target say about its places.
 * A function that several symbols could be is settled by what others found out, or stays open.
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
  readonly #comparer: AtomComparer;
  readonly #atoms = new Map<Atom, number>();
  readonly #externals = new Map<string, PlaceValue>();
  readonly #moved = new Map<Atom, MovedFunction>();
  readonly #matched = new Set<Atom>();
  readonly #mismatches = new Map<Atom, Mismatch>();
  /** Functions that several symbols could be. */
  readonly #undecided = new Set<Atom>();
  readonly functionCount: number;
  /** The unit's own functions, and those that run at boot only: they too show where things are. */
  readonly #functions: readonly Atom[];

  /** Places that hold equal code and belong to another unit. */
  readonly #elsewhere: ReadonlyMap<Atom, ReadonlyMap<number, Mismatch>>;

  constructor(unit: UnitObject, target: TargetObject, elsewhere: ReadonlyMap<Atom, ReadonlyMap<number, Mismatch>>) {
    this.#unit = unit;
    this.target = target;
    this.#elsewhere = elsewhere;
    this.#comparer = new AtomComparer(unit, target, {
      atoms: this.#atoms,
      externals: this.#externals,
      moved: this.#moved,
    });
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

  reachProblem(atom: Atom): Mismatch | undefined {
    if (this.#matched.has(atom) || this.#undecided.has(atom) || atom.kind === "code") return undefined;
    const shown = this.#atoms.get(atom);
    if (atom.kind !== "function" && shown !== undefined) return this.#problemAt(atom, shown, true);
    const addresses = candidatesOf(this.target, atom);
    // What the target does not have by this name cannot be reached, which is told where it is looked for.
    if (addresses.length === 0 || isOverridden(atom, this.target)) return undefined;
    if (atom.kind === "function") return this.#mismatches.get(atom);
    const problems = addresses.map((address) => this.#problemAt(atom, address, false));
    return problems.includes(undefined) ? undefined : problems[0];
  }

  /** @param isShown matched code refers to it there, so its content has been compared. */
  #problemAt(atom: Atom, address: number, isShown: boolean): Mismatch | undefined {
    const content = isShown ? undefined : this.#comparer.contentProblem(atom, address, new Findings());
    const { symbol } = atom;
    const text = content ?? (symbol === undefined ? undefined : sizeProblem(symbol.size, address, this.target));
    return text === undefined ? undefined : { offset: 0, text };
  }

  async recordOf(atom: Atom): Promise<FunctionRecord | undefined> {
    const address = this.#atoms.get(atom);
    if (address === undefined || !this.#matched.has(atom)) return undefined;
    const { target } = this;
    // Without what other functions have shown, so that all that can be is compared here; what only they settle is taken from them.
    for (const comparer of [new AtomComparer(this.#unit, target, nothingKnown), this.#comparer]) {
      const record = new ComparisonRecord();
      const findings = new Findings(record);
      findings.atoms.set(atom, address);
      if (comparer.compareFunction(atom, address, findings) === undefined)
        return record.of(atom, address, "bytes", target);
    }
    const room = target.roomAt(address);
    if (room === undefined) return undefined;
    const record = new ComparisonRecord();
    const findings = new Findings(record);
    findings.atoms.set(atom, address);
    const { arch } = this.#unit;
    const problem = await compareLockstep(atom, address, room, target, arch, this.#comparer, findings);
    return problem === undefined ? record.of(atom, address, "instructions", target) : undefined;
  }

  owns(atom: Atom): boolean {
    return this.#unit.atomsIn(atom.section.index).includes(atom);
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
      this.#mismatches.set(atom, mismatch ?? this.#withoutFit(atom));
    }
    await this.#tryMoved(open.filter((atom) => rejected.has(atom)));
    this.#joinParts();
  }

  /** Compares instruction by instruction, and again what leads into functions that were found moved: their cold parts jump back. */
  async #tryMoved(all: readonly Atom[]): Promise<void> {
    for (let open = all, before = -1; open.length !== before; ) {
      before = open.length;
      const still: Atom[] = [];
      for (const atom of open) {
        const { fitting } = this.#moved.size === 0 ? { fitting: [] } : this.#tryCandidates(atom);
        const [only, another] = fitting.length > 0 ? fitting : await this.#tryLockstep(atom);
        if (only === undefined || another !== undefined) still.push(atom);
        else this.#commit(atom, only);
      }
      open = still;
    }
  }

  /** What the compiler moved out of a function belongs to it: unless all of that is the target's, the function is not. */
  #joinParts(): void {
    for (let found = true; found; ) {
      found = false;
      for (const atom of this.#matched) {
        for (const { offset, target } of atom.references) {
          if (target.kind !== "atom" || target.atom.kind !== "function" || !isOutlinedPart(target.atom.name)) continue;
          if (target.atom === atom || this.#matched.has(target.atom)) continue;
          const part = this.#mismatches.get(target.atom);
          const text = `goes on in ${target.atom.name}, where at +0x${(part?.offset ?? 0).toString(16)} ${part?.text ?? "nothing is found"}`;
          this.#matched.delete(atom);
          this.#mismatches.set(atom, { offset, text });
          found = true;
          break;
        }
      }
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
        const inferred = this.#comparer.running(value.address - target.addend + entryOffset(target.atom));
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
    this.#undecided.add(atom);
    return {
      offset: 0,
      text: `${count} symbols named ${atom.name} hold equal code, and nothing shows which one this is`,
    };
  }

  #commit(atom: Atom, { address, findings }: Fit): void {
    this.#matched.add(atom);
    this.#mismatches.delete(atom);
    this.#atoms.set(atom, address);
    if (findings.moved !== undefined) this.#moved.set(atom, findings.moved);
    for (const [found, at] of findings.atoms) this.#atoms.set(found, at);
    for (const [name, value] of findings.externals) this.#externals.set(name, value);
  }

  #tryCandidates(atom: Atom): { fitting: Fit[]; mismatch: Mismatch | undefined } {
    const inferred = this.#atoms.get(atom);
    if (inferred !== undefined) return this.#tryAt(atom, [inferred]);
    const found = this.#tryAt(atom, candidatesOf(this.target, atom));
    // The number that this compiler chose may be that of another unit's.
    if (found.fitting.length > 0 || found.mismatch === undefined) return found;
    const others = this.#tryAt(atom, renumberedCandidates(this.target, atom));
    return others.fitting.length > 0 ? others : found;
  }

  #tryAt(atom: Atom, addresses: readonly number[]): { fitting: Fit[]; mismatch: Mismatch | undefined } {
    const fitting: Fit[] = [];
    let mismatch: Mismatch | undefined;
    for (const address of addresses) {
      const findings = new Findings();
      findings.atoms.set(atom, address);
      const found = this.#anothers(atom, address) ?? this.#comparer.compareFunction(atom, address, findings);
      if (found === undefined) fitting.push({ address, findings });
      else if (mismatch === undefined || found.offset > mismatch.offset) mismatch = found;
    }
    return { fitting, mismatch: fitting.length === 0 ? mismatch : undefined };
  }

  #anothers(atom: Atom, address: number): Mismatch | undefined {
    const shipped = this.target.shippedAt?.(address)?.address ?? address;
    return this.#elsewhere.get(atom)?.get(shipped) ?? anotherSymbol(atom, address, this.target);
  }

  /** The few functions whose branches the shipped build encodes in another length (docs/architecture.md, Measured facts) are compared instruction by instruction. */
  async #tryLockstep(atom: Atom): Promise<Fit[]> {
    const inferred = this.#atoms.get(atom);
    const addresses = inferred === undefined ? candidatesOf(this.target, atom) : [inferred];
    const fitting: Fit[] = [];
    for (const address of addresses) {
      const findings = new Findings();
      findings.atoms.set(atom, address);
      const room = this.target.roomAt(address);
      if (room === undefined || this.#anothers(atom, address) !== undefined) continue;
      const { target } = this;
      const found = await compareLockstep(atom, address, room, target, this.#unit.arch, this.#comparer, findings);
      if (found === undefined) fitting.push({ address, findings });
    }
    return fitting;
  }
}

const nothingKnown: Known = { atoms: new Map(), externals: new Map(), moved: new Map() };

/** True for a weak definition in whose place the target has another unit's strong one, or has one of which its symbol table does not tell. */
function isOverridden({ symbol, name }: Atom, target: TargetObject): boolean {
  return symbol?.binding === Binding.weak && target.symbolsNamed(name).some(({ binding }) => binding !== "weak");
}

function staysInMemory(atom: Atom): boolean {
  return classOf(atom.section) === "content";
}

interface Fit {
  readonly address: number;
  readonly findings: Findings;
}

import { SectionFlag } from "../elf/constants.ts";
import { type Refusal, refuse } from "../refusals/refusals.ts";
import { type Atom, isAnonymousConstant, isIndirect, isPoolEntry, type Reference, type TableEntry } from "./atoms.ts";
import type { UnitChanges } from "./changes.ts";
import { type Correlation, isCorrelatable, isWritable } from "./correlate.ts";
import type { Rewrite } from "./rewrites.ts";
import { readVariableInstead, runtimeConstant } from "./runtime-constants.ts";
import { ColdParts } from "./source-files.ts";
import { classOf, isGone, isPercpu, isSanitizerData, isUnknownList } from "./special-sections/section-classes.ts";
import { isLeftOut } from "./special-sections/special-sections.ts";
import { entriesByAtom } from "./special-sections/tables.ts";
import type { UnitObject } from "./unit-object.ts";

/** Where a reference of carried code leads in the patch module. */
export type Route =
  /** To the copy that the patch module carries. */
  | { readonly to: "inside"; readonly atom: Atom }
  /** To the thing itself in the running kernel, named by its atom of the original unit. */
  | { readonly to: "original"; readonly atom: Atom }
  /** To a symbol of another unit. */
  | { readonly to: "external"; readonly name: string; readonly weak: boolean }
  /** To the copy of a table's entry, which is about carried code. */
  | { readonly to: "entry"; readonly entry: TableEntry }
  | { readonly to: "absolute" };

/** What of the patched unit goes into the patch module. */
export interface Selection {
  /** In the order of the patched unit. */
  readonly atoms: readonly Atom[];
  /** Entries of each special table that are about carried code. */
  readonly entries: ReadonlyMap<string, readonly TableEntry[]>;
  /** Instructions of carried code that are not those of the patched unit. */
  readonly rewrites: ReadonlyMap<Atom, readonly Rewrite[]>;
  readonly route: (from: Atom | TableEntry, reference: Reference) => Route;
  readonly refusals: readonly Refusal[];
}

/** How calls between redirected functions of one unit go. */
export interface CallChoice {
  /**
   * True when a later patch module may redirect them again, without replacing this one: each call then goes by the kernel's function, from where ftrace
   * sends it to the newest version that is meant for the task (`klp_ftrace_handler()`, kernel/livepatch/patch.c). Otherwise it goes straight to the
   * version beside it.
   */
  readonly throughKernel: boolean;
}

/**
 * Selects the changed and new functions, and all that they need and the running kernel does not have: new data, constants, cold parts, pieces that
 * their table entries reach.
 */
export function selectCarried(
  patched: UnitObject,
  correlation: Correlation,
  changes: UnitChanges,
  unitPath: string,
  object: string,
  calls: CallChoice = { throughKernel: false },
): Selection {
  const selector = new Selector(patched, correlation, changes, unitPath, object, calls);
  return selector.run();
}

class Selector {
  readonly #carried = new Set<Atom>();
  readonly #queue: Atom[] = [];
  readonly #entriesOf: ReadonlyMap<Atom, readonly TableEntry[]>;
  readonly #rewrites = new Map<Atom, Rewrite[]>();
  readonly #refusals: Refusal[] = [];
  readonly #coldParts: ColdParts;
  readonly patched: UnitObject;
  readonly correlation: Correlation;
  readonly changes: UnitChanges;
  readonly unitPath: string;
  readonly object: string;
  readonly calls: CallChoice;

  constructor(
    patched: UnitObject,
    correlation: Correlation,
    changes: UnitChanges,
    unitPath: string,
    object: string,
    calls: CallChoice,
  ) {
    this.calls = calls;
    this.patched = patched;
    this.correlation = correlation;
    this.changes = changes;
    this.unitPath = unitPath;
    this.object = object;
    this.#entriesOf = entriesByAtom(patched.tables);
    this.#coldParts = new ColdParts(patched);
  }

  run(): Selection {
    for (const change of this.changes.functions.values()) {
      // A new static function is carried when something carried uses it; a new global one may be wanted by another unit.
      if (change.change === "changed" || change.atom.symbol?.binding !== 0) this.#carry(change.atom);
    }
    for (const entry of this.changes.newExports) this.#carry(entry);
    for (const callback of this.changes.callbacks) this.#carry(callback.function);
    for (const atom of this.patched.atoms) {
      const isNewGlobal =
        atom.symbol !== undefined && atom.symbol.binding !== 0 && !this.correlation.originalOf.has(atom);
      if (isNewGlobal && classOf(atom.section) === "content" && atom.kind !== "code" && this.#mayCarry(atom, atom))
        this.#carry(atom);
    }
    for (let atom = this.#queue.pop(); atom !== undefined; atom = this.#queue.pop()) {
      for (const reference of atom.references) this.#follow(atom, reference);
      for (const entry of this.#entriesOf.get(atom) ?? []) {
        if (runtimeConstant(entry.table) !== undefined) this.#rewrite(atom, entry);
        else for (const reference of entry.references) this.#follow(entry, reference);
      }
    }
    this.#unknownLists();
    const entries = new Map<string, TableEntry[]>();
    for (const [name, table] of this.patched.tables) {
      if (runtimeConstant(name) !== undefined) continue;
      const kept = table.entries.filter(({ place }) => place !== undefined && this.#carried.has(place.atom));
      if (kept.length > 0) entries.set(name, kept);
    }
    return {
      atoms: this.patched.atoms.filter((atom) => this.#carried.has(atom)),
      entries,
      rewrites: this.#rewrites,
      route: (from, reference) => this.#route(from, reference),
      refusals: this.#refusals,
    };
  }

  /** The kernel fills runtime constants of its own code only. */
  #rewrite(atom: Atom, entry: TableEntry): void {
    const rewrite = readVariableInstead(this.patched, entry);
    if (rewrite === undefined) {
      this.#refuse("RUNTIME_CONSTANT", atom.name, { variable: runtimeConstant(entry.table) ?? "" });
      return;
    }
    const list = this.#rewrites.get(atom);
    if (list === undefined) this.#rewrites.set(atom, [rewrite]);
    else list.push(rewrite);
    this.#follow(atom, rewrite.reference);
  }

  /** Refuses what a list that is not known says about places in carried code: without it the copy may not work as the code did. */
  #unknownLists(): void {
    for (const atom of this.patched.atoms) {
      if (!isUnknownList(atom.section) || isPoolEntry(atom)) continue;
      for (const { target } of atom.references) {
        if (target.kind !== "atom" || !this.#carried.has(target.atom)) continue;
        const { kind, symbol, start, name } = target.atom;
        const isEntry = target.addend === (symbol === undefined ? 0 : symbol.value - start);
        if (kind === "code" || (kind === "function" && !isEntry))
          this.#refuse("UNKNOWN_SECTION", name, { section: atom.section.name });
      }
    }
  }

  #carry(atom: Atom): void {
    if (this.#carried.has(atom)) return;
    this.#carried.add(atom);
    this.#queue.push(atom);
  }

  #follow(from: Atom | TableEntry, reference: Reference): void {
    const route = this.#route(from, reference);
    if (reference.implicit && this.patched.arch.isShort(reference.type) && "name" in from && "atom" in route) {
      this.#refuse("SHORT_BRANCH", from.name, { target: route.atom.name, section: from.section.name });
    }
    if (route.to === "original" && "name" in from) this.#requireKept(route.atom, from);
    if ("atom" in route) this.#requireOneAddress(route.atom, from);
    if ((route.to === "original" || route.to === "external") && "name" in from && from.kind === "function") {
      const problem = this.patched.arch.farProblem(from, reference);
      const target = route.to === "external" ? route.name : route.atom.name;
      if (problem !== undefined) this.#refuse("FAR_REFERENCE", from.name, { target, problem });
    }
    if (route.to === "external" && this.patched.tables.has(route.name)) {
      const user = "name" in from ? from.name : from.table;
      const problem = `${user} refers to a place in ${route.name} that is in none of its entries`;
      this.#refuse("SPECIAL_SECTION", route.name, { problem });
    }
    if ("name" in from) this.#requireOneMeaning(from, reference);
    if (route.to === "entry") this.#requireOwnEntry(route.entry, from);
    if (route.to !== "inside" || this.#carried.has(route.atom)) return;
    if (this.#mayCarry(route.atom, from)) this.#carry(route.atom);
  }

  /**
   * Where variables share a section, `&array[4]` of `int array[4]` is also the start of the variable behind it, and the relocation of a local symbol only
   * tells the place. Where a loop compares with it, both have to be the same place in the running kernel.
   */
  #requireOneMeaning(user: Atom, reference: Reference): void {
    const { target } = reference;
    if (target.kind !== "atom" || target.addend !== 0 || !this.patched.arch.isCompared(user, reference)) return;
    const { atom } = target;
    if (atom.symbol?.binding !== 0 || atom.start === 0 || atom.kind === "function") return;
    const neighbours = this.patched.atomsIn(atom.section.index);
    const before = neighbours[neighbours.indexOf(atom) - 1];
    if (before === undefined || before.end !== atom.start || before.symbol === undefined) return;
    if (!user.references.some((other) => other.target.kind === "atom" && other.target.atom === before)) return;
    const [first, second] = [this.correlation.originalOf.get(before), this.correlation.originalOf.get(atom)];
    const areNew = first === undefined && second === undefined;
    if (areNew || (first?.section === second?.section && first?.end === second?.start)) return;
    this.#refuse("AMBIGUOUS_PLACE", atom.name, { user: user.name, before: before.name });
  }

  /** The entry is carried with the code that it is about: the function itself, or its other half. */
  #requireOwnEntry({ table, place }: TableEntry, from: Atom | TableEntry): void {
    const code = "name" in from ? from : from.place?.atom;
    if (code !== undefined && place !== undefined && !isLeftOut(table) && runtimeConstant(table) === undefined) {
      const [about, owner] = [place.atom, this.#coldParts.ownerOf(place.atom)];
      if (about === code || owner === code || this.#coldParts.ownerOf(code) === about) return;
    }
    const user = code?.name ?? table;
    const problem = `${user} refers to an entry of ${table} that the patch module does not have`;
    this.#refuse("SPECIAL_SECTION", user, { problem });
  }

  /** Refuses what has no address that a relocation of the kernel's module loader could give. */
  #requireOneAddress(atom: Atom, from: Atom | TableEntry): void {
    const user = "name" in from ? from.name : (from.place?.atom.name ?? from.table);
    if (isIndirect(atom)) this.#refuse("INDIRECT_FUNCTION", atom.name, { problem: `${user} refers to it` });
    if ((atom.section.flags & SectionFlag.tls) !== 0)
      this.#refuse("SPECIAL_SECTION", atom.name, {
        problem: `${user} uses the thread-local variable ${atom.name}, and a kernel has none`,
      });
  }

  /** Refuses a use of what is freed after boot, unless the running kernel's version of the user has it too. */
  #requireKept(atom: Atom, user: Atom): void {
    if (!isGone(atom.section, this.object)) return;
    const before = this.correlation.originalOf.get(user);
    if (before?.references.some(({ target }) => target.kind === "atom" && target.atom === atom) === true) return;
    this.#refuse("SPECIAL_SECTION", atom.name, {
      problem: `${user.name} refers to ${atom.name} in ${atom.section.name}, whose memory is freed after boot or load`,
    });
  }

  /** Refuses what a copy in the patch module could not stand for. */
  #mayCarry(atom: Atom, from: Atom | TableEntry): boolean {
    const user = "name" in from ? from.name : (from.place?.atom.name ?? from.table);
    if (isGone(atom.section, this.object)) {
      this.#refuse("SPECIAL_SECTION", atom.name, {
        problem: `${user} refers to ${atom.name} in ${atom.section.name}, whose memory is freed after boot or load`,
      });
      return false;
    }
    if (isPercpu(atom.section.name)) {
      this.#refuse("PERCPU_DATA", atom.name, { object: this.object });
      return false;
    }
    if (isWritable(atom) && isCorrelatable(atom) && this.correlation.lostData.has(atom.base)) {
      this.#refuse("STATIC_LOCAL", atom.name, {
        problem: `${user} uses a variable named ${atom.base}, and nothing shows which of the running kernel's variables of that name it is`,
      });
      return false;
    }
    const original = this.correlation.originalOf.get(atom);
    if (original !== undefined && isWritable(atom) && isGone(original.section, this.object)) {
      this.#refuse("SPECIAL_SECTION", atom.name, {
        problem: `${user} uses ${atom.name}, which the running kernel had in ${original.section.name} and has freed`,
      });
      return false;
    }
    if (isWritable(atom) && atom.symbol === undefined && !this.#isReport(atom, from)) {
      this.#refuse("SPECIAL_SECTION", atom.name, {
        problem: `${user} refers to unnamed writable data in ${atom.section.name}`,
      });
      return false;
    }
    return true;
  }

  /** True for data of the undefined behaviour sanitizer, which its handlers get: a copy serves as well. */
  #isReport(atom: Atom, from: Atom | TableEntry): boolean {
    if (!isSanitizerData(atom.section.name)) return false;
    const user = "name" in from ? from : from.place?.atom;
    // A place names the type that it is about.
    if (user !== undefined && (isSanitizerData(user.section.name) || isPoolEntry(user))) return true;
    const calls = user?.references ?? [];
    return calls.some(({ target }) => target.kind === "external" && target.name.startsWith("__ubsan_handle_"));
  }

  #route(from: Atom | TableEntry, reference: Reference): Route {
    const { target } = reference;
    if (target.kind === "absolute") return { to: "absolute" };
    if (target.kind === "external") return { to: "external", name: target.name, weak: target.weak };
    if (target.kind === "entry") return { to: "entry", entry: target.entry };
    const { atom } = target;
    const original = this.correlation.originalOf.get(atom);
    if (atom.kind === "function") return this.#functionRoute(from, reference, atom, original);
    if (original === undefined || classOf(atom.section) === "companion" || isAnonymousConstant(atom))
      return { to: "inside", atom };
    if (isGone(original.section, this.object) && !isGone(atom.section, this.object)) return { to: "inside", atom };
    // A local constant of unequal content was found harmless to copy, or refused, by the changes phase.
    if (
      atom.kind === "rodata" &&
      atom.symbol?.binding === 0 &&
      !this.changes.ignoredSections.has(atom.section.name) &&
      (this.changes.labelTables.has(atom) || this.changes.comparison.difference(original, atom) !== null)
    )
      return { to: "inside", atom };
    return { to: "original", atom: original };
  }

  #functionRoute(from: Atom | TableEntry, reference: Reference, atom: Atom, original: Atom | undefined): Route {
    if (original === undefined || (from === atom && !this.#isEntryAddress(from, reference, atom)))
      return { to: "inside", atom };
    const owner = this.#coldParts.ownerOf(atom);
    if (owner !== undefined && (this.#carried.has(atom) || this.#goesWith(from, atom, owner)))
      return { to: "inside", atom };
    const change = this.changes.functions.get(atom);
    if (change === undefined) return { to: "original", atom: original };
    if (!change.redirected) return { to: "inside", atom };
    // Entries about places in the code, and branches, mean the new code. A stored address means the function as the kernel knows it:
    // it stays valid when the patch module goes, and ftrace sends its calls here meanwhile.
    const isPlace = !("name" in from) && from.place?.atom === atom;
    const isBranch = "name" in from && this.patched.arch.isBranch(from, reference);
    const isOwn = "name" in from && this.#coldParts.ownerOf(from) === atom;
    const fromCode = isBranch && (isOwn || !this.calls.throughKernel);
    const fromCompanion = "name" in from && from.kind === "code";
    const isInside = isPlace || fromCode || fromCompanion || this.#pointsIntoFunction(from, reference, atom);
    return isInside ? { to: "inside", atom } : { to: "original", atom: original };
  }

  /** True where a function takes its own address, as a callback that arms itself again does, and does not only branch within itself. */
  #isEntryAddress(from: Atom, reference: Reference, atom: Atom): boolean {
    return !this.patched.arch.isBranch(from, reference) && !this.#pointsIntoFunction(from, reference, atom);
  }

  /** True for a label rather than the function: an entry of a jump table, `&&label`, a handler in the other half of a split function. */
  #pointsIntoFunction(from: Atom | TableEntry, { offset, type, target }: Reference, atom: Atom): boolean {
    const { arch } = this.patched;
    const isCode = "name" in from && from.kind === "function";
    const bias = isCode && arch.isPcRelative(type) ? arch.instructionTail(from.bytes, offset, type) : 0;
    return target.addend + bias !== (atom.symbol === undefined ? 0 : atom.symbol.value - atom.start);
  }

  /** True for a cold part of which the patch module has a copy, or that its own function refers to. */
  #goesWith(from: Atom | TableEntry, coldPart: Atom, owner: Atom): boolean {
    if (this.changes.functions.has(coldPart) || this.changes.functions.has(owner)) return true;
    return ("name" in from ? from : from.place?.atom) === owner;
  }

  #refuse(code: Parameters<typeof refuse>[0], what: string, values: Record<string, string>): void {
    if (!this.#refusals.some((earlier) => earlier.code === code && earlier.what === what)) {
      this.#refusals.push(refuse(code, what, this.unitPath, values));
    }
  }
}

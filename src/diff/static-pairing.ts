import { type Atom, isPoolEntry, type Reference, seenThrough } from "./atoms.ts";
import { sourceOf } from "./source-files.ts";
import { meaningfulEntries, referencesOf } from "./special-sections/tables.ts";
import { type StaticLocal, staticLocalsOf } from "./static-locals.ts";
import type { UnitObject } from "./unit-object.ts";
import { pairByUse } from "./variable-use.ts";

/**
 * Says which static variables of functions are the same in two builds, where their name does not. A compiler numbers them in an order of its own, and
 * with two `static long hits` in two blocks of one function even the order of their uses may be exchanged by the change.
 */
export class StaticPairing {
  readonly #original: UnitObject;
  readonly #patched: UnitObject;
  readonly #isSameLine: (line: number) => boolean;
  readonly #users: readonly [ReadonlyMap<Atom, readonly Atom[]>, ReadonlyMap<Atom, readonly Atom[]>];
  readonly #functions: ReadonlyMap<string, Atom>;
  readonly #open = new Set<Atom>();

  constructor(original: UnitObject, patched: UnitObject, isSameLine: (line: number) => boolean) {
    this.#original = original;
    this.#patched = patched;
    this.#isSameLine = isSameLine;
    this.#users = [usersOf(original), usersOf(patched)];
    this.#functions = new Map(
      patched.atoms.flatMap((atom) => (atom.kind === "function" ? [[nameIn(patched, atom), atom]] : [])),
    );
  }

  /** True for a variable that is known not to be told apart from others of its name and function. */
  isOpen(atom: Atom): boolean {
    return this.#open.has(atom);
  }

  /** False for the only two of a name that different functions of the source declare, though one function may use both: it has inlined those. */
  mayBeSame(a: Atom, b: Atom): boolean {
    if (!isNumberedVariable(a) || this.#hasUnchangedUsers([a])) return true;
    const [before, after] = [this.#locals(a, this.#original), this.#locals(b, this.#patched)];
    return before === undefined || after === undefined || before.scope === after.scope;
  }

  /** Pairs variables by their declarations; those of functions that do not change need none. */
  pair(left: readonly Atom[], right: readonly Atom[]): [Atom, Atom][] {
    if (!left.some(isNumberedVariable) || !right.some(isNumberedVariable)) return [];
    if (this.#hasUnchangedUsers(left)) return [];
    const [before, after] = [groupByScope(left, this.#original), groupByScope(right, this.#patched)];
    return [...before].flatMap(([scope, originals]) => {
      const patcheds = after.get(scope) ?? [];
      const [a, b] = [originals[0], patcheds[0]];
      if (a === undefined || b === undefined) return [];
      if (originals.length === 1 && patcheds.length === 1) return [[a, b] as [Atom, Atom]];
      return this.#twins(originals, patcheds);
    });
  }

  /** See {@link pairByUse}. */
  pairByUse(originals: readonly Atom[], patcheds: readonly Atom[]): [Atom, Atom][] {
    return pairByUse(originals, patcheds, this.#original, this.#patched);
  }

  /** True for functions whose code is the same, whichever variables it is about. */
  isUnchanged(a: Atom, b: Atom): boolean {
    return isSameText(a, b, this.#patched);
  }

  /** Variables of one name in one function: the lines of their declarations and what they are used for have to agree. */
  #twins(originals: readonly Atom[], patcheds: readonly Atom[]): [Atom, Atom][] {
    const byUse = new Map(this.pairByUse(originals, patcheds));
    const byLine = new Map(this.#pairByLine(originals, patcheds));
    const rest = new Map(pairByUse(originals, patcheds, this.#original, this.#patched, byLine));
    const found = originals.flatMap((a) => {
      const [use, line] = [byUse.get(a), byLine.get(a)];
      const b = line ?? use ?? rest.get(a);
      return b === undefined || (use !== undefined && use !== b) ? [] : [[a, b] as [Atom, Atom]];
    });
    const chosen = found.filter(([, b]) => found.filter(([, other]) => other === b).length === 1);
    const paired = new Set(chosen.flat());
    for (const atom of [...originals, ...patcheds]) if (!paired.has(atom)) this.#open.add(atom);
    return chosen;
  }

  #pairByLine(originals: readonly Atom[], patcheds: readonly Atom[]): [Atom, Atom][] {
    const lineOf = (atom: Atom, unit: UnitObject): number | undefined => this.#locals(atom, unit)?.line;
    const lines = [
      originals.map((atom) => lineOf(atom, this.#original)),
      patcheds.map((atom) => lineOf(atom, this.#patched)),
    ];
    return originals.flatMap((a, at) => {
      const line = lines[0]?.[at];
      if (line === undefined || !this.#isSameLine(line)) return [];
      const isOnly = lines.every((each) => each.filter((other) => other === line).length === 1);
      const b = patcheds[lines[1]?.indexOf(line) ?? -1];
      return isOnly && b !== undefined ? [[a, b] as [Atom, Atom]] : [];
    });
  }

  #locals(atom: Atom, unit: UnitObject): StaticLocal | undefined {
    return staticLocalsOf(unit).get(atom);
  }

  /** True when all functions that use these have the same code in the patched unit. */
  #hasUnchangedUsers(atoms: readonly Atom[]): boolean {
    const users = new Set(atoms.flatMap((atom) => this.#users[0].get(atom) ?? []));
    return [...users].every((user) => {
      if (user.kind !== "function") return true;
      const other = this.#functions.get(nameIn(this.#original, user));
      return other !== undefined && isSameText(user, other, this.#patched);
    });
  }
}

/** True for data that the compiler numbered (gcc: `hits.3`) or named by its function (clang: `count.hits`). */
function isNumberedVariable({ kind, name }: Atom): boolean {
  return (kind === "data" || kind === "bss") && name.includes(".");
}

function nameIn(unit: UnitObject, atom: Atom): string {
  return `${sourceOf(unit, atom) ?? ""} ${atom.name}`;
}

function usersOf(unit: UnitObject): Map<Atom, Atom[]> {
  const users = new Map<Atom, Atom[]>();
  const entries = meaningfulEntries(unit.tables);
  for (const user of unit.atoms) {
    if (isPoolEntry(user)) continue;
    for (const reference of referencesOf(user, entries.get(user))) {
      const target = seenThrough(reference.target);
      if (target.kind !== "atom" || !isNumberedVariable(target.atom)) continue;
      const list = users.get(target.atom);
      if (list === undefined) users.set(target.atom, [user]);
      else list.push(user);
    }
  }
  return users;
}

function groupByScope(atoms: readonly Atom[], unit: UnitObject): Map<string, Atom[]> {
  const groups = new Map<string, Atom[]>();
  const locals = staticLocalsOf(unit);
  for (const atom of atoms) {
    const scope = locals.get(atom)?.scope;
    if (scope === undefined) continue;
    const list = groups.get(scope);
    if (list === undefined) groups.set(scope, [atom]);
    else list.push(atom);
  }
  return groups;
}

/** Equal code outside of what relocations fill, and equal names of what it refers to. */
function isSameText(a: Atom, b: Atom, { arch, elf }: UnitObject): boolean {
  if (a.bytes.length !== b.bytes.length || a.references.length !== b.references.length) return false;
  const filled = new Map<number, number>();
  const areAlike = a.references.every((reference, at) => {
    const other = b.references[at] as Reference;
    arch.relocationMask(reference.type, elf.littleEndian)?.forEach((bits, byte) => {
      filled.set(reference.offset + byte, (filled.get(reference.offset + byte) ?? 0) | bits);
    });
    return reference.offset === other.offset && reference.type === other.type && nameOf(reference) === nameOf(other);
  });
  return areAlike && a.bytes.every((byte, at) => ((byte ^ (b.bytes[at] as number)) & ~(filled.get(at) ?? 0)) === 0);
}

function nameOf(reference: Reference): string {
  const target = seenThrough(reference.target);
  if (target.kind === "absolute") return `${target.addend}`;
  if (target.kind === "external") return `${target.name} ${target.addend}`;
  if (target.kind === "entry") return `${target.entry.table} ${target.addend}`;
  const { kind, bytes, base } = target.atom;
  return `${kind === "string" ? Buffer.from(bytes).toString("latin1") : base} ${target.addend}`;
}

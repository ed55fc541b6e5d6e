import { type Atom, isPoolEntry, type Reference, seenThrough, type TableEntry } from "./atoms.ts";
import { coldParent, startsAnew, structOfSpecial } from "./names.ts";
import { ColdParts, filesOf, type SourceFiles } from "./source-files.ts";
import { meaningfulEntries, referencesOf } from "./special-sections/tables.ts";
import { staticLocalsOf } from "./static-locals.ts";
import { StaticPairing } from "./static-pairing.ts";
import type { UnitObject } from "./unit-object.ts";

/** Which atom of the original unit is the same thing as which atom of the patched one. */
export interface Correlation {
  /** By original atom. */
  readonly patchedOf: ReadonlyMap<Atom, Atom>;
  /** By patched atom. */
  readonly originalOf: ReadonlyMap<Atom, Atom>;
  /** Bases (see names.ts) of writable originals that found no counterpart; a new variable of such a base may be one of them. */
  readonly lostData: ReadonlyMap<string, readonly Atom[]>;
  /** Names of global definitions that mean the same thing whether this unit has them or another one (definitions.ts). */
  readonly shared?: ReadonlySet<string> | undefined;
}

/** True for a line that the source change leaves alone and that has the same number in both builds. */
export type SameLine = (line: number) => boolean;

const noLine: SameLine = () => false;

/**
 * Pairs the named atoms of two builds of one unit. Names decide where they are unique. Where a compiler numbered several things of one name, only
 * evidence pairs them: the function and line of their declaration (variables whose functions change), equal places in functions of equal shape, then
 * the only one of its size that a paired function uses. What stays unpaired counts as new, which is safe for code and constants (their users become
 * changed) and refused for writable data.
 */
export function correlate(original: UnitObject, patched: UnitObject, isSameLine: SameLine = noLine): Correlation {
  for (const unit of [original, patched]) findOrdinary(unit);
  const pairs = new Pairs();
  const [files, patchedFiles] = [filesOf(original.elf), filesOf(patched.elf)];
  const several = files.count > 1 && files.count === patchedFiles.count;
  const originals = groupByIdentity(original.atoms, several ? files : undefined);
  const patcheds = groupByIdentity(patched.atoms, several ? patchedFiles : undefined);
  const usersBefore = indexUsers(original, several ? files : undefined);
  const usersAfter = indexUsers(patched, several ? patchedFiles : undefined);
  const statics = new StaticPairing(original, patched, isSameLine);
  const entries = { before: meaningfulEntries(original.tables), after: meaningfulEntries(patched.tables) };
  const open: [Atom[], Atom[]][] = [];
  for (const [identity, left] of originals) {
    const right = patcheds.get(identity);
    if (right === undefined) continue;
    const exact = pairByExactGlobalName(pairs, left, right);
    if (exact.left.length === 1 && exact.right.length === 1) {
      const [a, b] = [exact.left[0] as Atom, exact.right[0] as Atom];
      if (mayBeSame(a, b, usersBefore, usersAfter) && statics.mayBeSame(a, b)) pairs.add(a, b);
    } else if (exact.left.length > 0 && exact.right.length > 0) open.push([exact.left, exact.right]);
  }
  for (const [left, right] of open) for (const [a, b] of statics.pair(left, right)) pairs.add(a, b);
  for (const [left, right] of open) for (const [a, b] of pairByContent(left, right)) pairs.add(a, b);
  const settle = (): void => {
    for (let found = true; found && open.length > 0; ) {
      found = false;
      const groupOf = new Map<Atom, number>();
      open.forEach(([left, right], group) => {
        for (const atom of [...left, ...right]) if (!pairs.has(atom) && !statics.isOpen(atom)) groupOf.set(atom, group);
      });
      for (const [a, b] of pairs.all()) found = pairReferences(pairs, groupOf, statics, entries, [a, b]) || found;
    }
  };
  settle();
  // Copies of one function that nothing else tells apart.
  const copies = open.flatMap(([left, right]) => pairByBody(pairs, statics, left, right));
  for (const [a, b] of copies) pairs.add(a, b);
  pairColdParts(pairs, original, patched);
  if (copies.length > 0) settle();
  const lostData = new Map<string, Atom[]>();
  for (const atom of original.atoms) {
    if (!isWritable(atom) || pairs.has(atom) || !isCorrelatable(atom)) continue;
    const list = lostData.get(atom.base);
    if (list === undefined) lostData.set(atom.base, [atom]);
    else list.push(atom);
  }
  return { patchedOf: pairs.forward, originalOf: pairs.backward, lostData };
}

class Pairs {
  readonly forward = new Map<Atom, Atom>();
  readonly backward = new Map<Atom, Atom>();

  add(original: Atom, patched: Atom): void {
    this.forward.set(original, patched);
    this.backward.set(patched, original);
  }

  has(atom: Atom): boolean {
    return this.forward.has(atom) || this.backward.has(atom);
  }

  /** A copy, since what they refer to is paired meanwhile. */
  all(): [Atom, Atom][] {
    return [...this.forward];
  }
}

/** True for atoms that have an identity beyond their content. */
export function isCorrelatable(atom: Atom): boolean {
  if (atom.symbol === undefined || atom.kind === "string" || atom.kind === "constant") return false;
  if (atom.symbol.binding !== 0) return true;
  return ordinary.has(atom) || !startsAnew(atom.name, atom.section.name, atom.end - atom.start);
}

/** Variables that only have the name of one which starts anew: their type is another. */
const ordinary = new WeakSet<Atom>();

function findOrdinary(unit: UnitObject): void {
  for (const atom of unit.atoms) {
    const wanted = isWritable(atom) ? structOfSpecial(atom.name) : undefined;
    if (wanted === undefined || atom.start === atom.end) continue;
    const local = staticLocalsOf(unit).get(atom);
    if (local !== undefined && local.struct !== wanted) ordinary.add(atom);
  }
}

/** True for data that the running kernel may have changed, zero-initialised data included. */
export function isWritable(atom: Atom): boolean {
  return atom.kind === "data" || atom.kind === "bss";
}

/** Code with code, data with data; a variable may move between .bss, .data and .rodata, which the comparison then sees. */
function identityOf(atom: Atom, files: SourceFiles | undefined): string {
  const isCode = atom.kind === "function" || atom.kind === "code";
  const file = files?.numberOf.get(atom.symbol?.index ?? 0) ?? "";
  return `${isCode ? "code" : "data"} ${atom.base} ${file}`;
}

function groupByIdentity(atoms: readonly Atom[], files: SourceFiles | undefined): Map<string, Atom[]> {
  const groups = new Map<string, Atom[]>();
  for (const atom of atoms) {
    if (!isCorrelatable(atom)) continue;
    const identity = identityOf(atom, files);
    const list = groups.get(identity);
    if (list === undefined) groups.set(identity, [atom]);
    else list.push(atom);
  }
  return groups;
}

/** Global symbols are what their name says, whatever locals share the base. */
function pairByExactGlobalName(pairs: Pairs, left: Atom[], right: Atom[]): { left: Atom[]; right: Atom[] } {
  const isGlobal = (atom: Atom): boolean => atom.symbol?.binding !== 0;
  const globals = new Map(right.filter(isGlobal).map((atom) => [atom.name, atom]));
  for (const atom of left.filter(isGlobal)) {
    const other = globals.get(atom.name);
    if (other !== undefined) pairs.add(atom, other);
  }
  // A static variable of file scope, among those of functions that have its name.
  const ofFile = (list: Atom[]): Atom[] =>
    list.filter((atom) => !isGlobal(atom) && !atom.name.includes(".") && atom.kind !== "function");
  const [own, others] = [ofFile(left), ofFile(right)];
  if (left.length + right.length > 2 && own.length === 1 && others.length === 1)
    pairs.add(own[0] as Atom, others[0] as Atom);
  const open = (atom: Atom): boolean => !pairs.has(atom);
  return { left: left.filter(open), right: right.filter(open) };
}

/**
 * The only two of a name: the same, unless it is a writable static local whose users have nothing in common (then it may be another variable
 * of the same name, in another function).
 */
function mayBeSame(a: Atom, b: Atom, usersOfA: Users, usersOfB: Users): boolean {
  if (!isWritable(a) || a.base === a.name) return true;
  const users = usersOfA.get(a);
  for (const user of usersOfB.get(b) ?? []) if (users?.has(user) === true) return true;
  return false;
}

type Users = ReadonlyMap<Atom, ReadonlySet<string>>;

/**
 * By atom, the names of the source functions and variables that refer to it: `f` for `f`, `f.part.0` and `f.cold`; `table` for
 * `struct ops *table[] = { &(struct ops){ … } }`, whose elements only it refers to.
 */
function indexUsers(unit: UnitObject, files: SourceFiles | undefined): Map<Atom, Set<string>> {
  const users = new Map<Atom, Set<string>>();
  const entries = meaningfulEntries(unit.tables);
  for (const atom of unit.atoms) {
    if (isPoolEntry(atom)) continue;
    let user: string | undefined;
    for (const reference of referencesOf(atom, entries.get(atom))) {
      const target = targetAtom(reference);
      if (target === undefined) continue;
      const known = users.get(target);
      user ??= userName(atom, files);
      if (known === undefined) users.set(target, new Set([user]));
      else known.add(user);
    }
  }
  return users;
}

function userName({ name, symbol }: Atom, files: SourceFiles | undefined): string {
  const dot = name.indexOf(".");
  return `${files?.numberOf.get(symbol?.index ?? 0) ?? ""} ${dot < 0 ? name : name.slice(0, dot)}`;
}

/**
 * Pairs constants of functions that have the same content, where each is the only one with it: two messages of one size that a function uses stay what they
 * are when the change moves their uses.
 */
function pairByContent(left: readonly Atom[], right: readonly Atom[]): [Atom, Atom][] {
  const [before, after] = [byContent(left), byContent(right)];
  return [...before].flatMap(([content, originals]) => {
    const [a, b] = [originals[0], after.get(content)?.[0]];
    const isOnly = originals.length === 1 && after.get(content)?.length === 1;
    return isOnly && a !== undefined && b !== undefined ? [[a, b] as [Atom, Atom]] : [];
  });
}

function byContent(atoms: readonly Atom[]): Map<string, Atom[]> {
  const found = new Map<string, Atom[]>();
  for (const atom of atoms) {
    const isPlain = atom.kind === "rodata" && atom.symbol?.binding === 0 && atom.references.length === 0;
    if (!isPlain || atom.name === atom.base) continue;
    const content = `${atom.section.flags} ${Buffer.from(atom.bytes).toString("latin1")}`;
    const same = found.get(content);
    if (same === undefined) found.set(content, [atom]);
    else same.push(atom);
  }
  return found;
}

/** Functions of one base that are the only ones with their body on both sides. */
function pairByBody(
  pairs: Pairs,
  statics: StaticPairing,
  left: readonly Atom[],
  right: readonly Atom[],
): [Atom, Atom][] {
  const isOpen = (atom: Atom): boolean => atom.kind === "function" && !pairs.has(atom);
  const [originals, patcheds] = [left.filter(isOpen), right.filter(isOpen)];
  return originals.flatMap((a) => {
    const same = patcheds.filter((b) => statics.isUnchanged(a, b));
    const [b] = same;
    const isOnly =
      b !== undefined && same.length === 1 && originals.every((c) => c === a || !statics.isUnchanged(c, b));
    return isOnly ? [[a, b] as [Atom, Atom]] : [];
  });
}

/** The cold part goes with its function, whatever number either has. */
function pairColdParts(pairs: Pairs, original: UnitObject, patched: UnitObject): void {
  const [before, after] = [new ColdParts(original), new ColdParts(patched)];
  const isOpenPart = (atom: Atom): boolean =>
    atom.kind === "function" && coldParent(atom.name) !== undefined && !pairs.has(atom);
  const parts = new Map<Atom | undefined, Atom>(
    patched.atoms.filter(isOpenPart).map((atom) => [after.ownerOf(atom), atom]),
  );
  for (const atom of original.atoms.filter(isOpenPart)) {
    const owner = before.ownerOf(atom);
    const partner = owner === undefined ? undefined : pairs.forward.get(owner);
    const part = partner === undefined ? undefined : parts.get(partner);
    if (part !== undefined) pairs.add(atom, part);
  }
}

/** Entries of special tables by the function that they are about, in both units. */
interface Entries {
  readonly before: ReadonlyMap<Atom, readonly TableEntry[]>;
  readonly after: ReadonlyMap<Atom, readonly TableEntry[]>;
}

/** Pairs what two paired functions refer to. Returns whether a pair was found. */
function pairReferences(
  pairs: Pairs,
  groupOf: ReadonlyMap<Atom, number>,
  statics: StaticPairing,
  entries: Entries,
  [a, b]: readonly [Atom, Atom],
): boolean {
  const [entriesOfA, entriesOfB] = [entries.before.get(a) ?? [], entries.after.get(b) ?? []];
  const left = openReferences(referencesOf(a, entriesOfA), groupOf);
  const right = openReferences(referencesOf(b, entriesOfB), groupOf);
  if (left.length === 0 || right.length === 0) return false;
  let found = false;
  const pair = (x: Atom, y: Atom): void => {
    if (pairs.has(x) || pairs.has(y) || groupOf.get(x) !== groupOf.get(y)) return;
    pairs.add(x, y);
    found = true;
  };
  const areAlike = sameShape(a, b);
  if (areAlike) {
    const isCertain = a.kind !== "function" || statics.isUnchanged(a, b);
    const pairEach = (xs: readonly Reference[], ys: readonly Reference[]): void =>
      xs.forEach((reference, at) => {
        const [x, y] = [targetAtom(reference), targetAtom(ys[at] as Reference)];
        if (x === undefined || y === undefined || !groupOf.has(x) || !groupOf.has(y)) return;
        if (isCertain || !isWritable(x)) pair(x, y);
      });
    pairEach(a.references, b.references);
    if (areAtSamePlaces(entriesOfA, entriesOfB))
      for (const [at, { references }] of entriesOfA.entries())
        pairEach(references, (entriesOfB[at] as TableEntry).references);
    if (isCertain) return found;
  }
  // The variable of a name and size of which the function uses one only. Of several, order is no evidence: what they are used for is.
  const kinds = new Set(left.map((atom) => `${groupOf.get(atom)} ${atom.end - atom.start}`));
  for (const kind of kinds) {
    const of = (atom: Atom): boolean =>
      `${groupOf.get(atom)} ${atom.end - atom.start}` === kind && atom.kind !== "function";
    const xs = left.filter(of);
    const ys = right.filter(of);
    const isOrdered = xs.length === ys.length && (xs.length === 1 || !xs.some(isWritable));
    if (isOrdered) for (const [at, x] of xs.entries()) pair(x, ys[at] as Atom);
    else for (const [x, y] of statics.pairByUse(xs, ys)) pair(x, y);
  }
  return found;
}

function targetAtom(reference: Reference): Atom | undefined {
  const target = seenThrough(reference.target);
  return target.kind === "atom" ? target.atom : undefined;
}

function openReferences(references: Iterable<Reference>, groupOf: ReadonlyMap<Atom, number>): Atom[] {
  const seen = new Set<Atom>();
  for (const reference of references) {
    const target = targetAtom(reference);
    if (target !== undefined && groupOf.has(target)) seen.add(target);
  }
  return [...seen];
}

/** Entries of the same tables about the same places, with as many references. */
function areAtSamePlaces(before: readonly TableEntry[], after: readonly TableEntry[]): boolean {
  return (
    before.length === after.length &&
    before.every(({ table, place, references }, at) => {
      const other = after[at] as TableEntry;
      const isSamePlace = table === other.table && place?.offset === other.place?.offset;
      return isSamePlace && references.length === other.references.length;
    })
  );
}

/** Equal length, and references of equal types at equal places. */
function sameShape(a: Atom, b: Atom): boolean {
  return (
    a.bytes.length === b.bytes.length &&
    a.references.length === b.references.length &&
    a.references.every((reference, at) => {
      const other = b.references[at] as Reference;
      return reference.offset === other.offset && reference.type === other.type;
    })
  );
}

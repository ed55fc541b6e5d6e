import { type Refusal, refuse } from "../../refusals/refusals.ts";
import type { Atom, Reference } from "../atoms.ts";
import { isWritable } from "../correlate.ts";
import { isGone } from "../special-sections/section-classes.ts";
import { collectUsers } from "../users.ts";
import type { ComparedUnit } from "./compared-unit.ts";

/**
 * Refuses things of the running kernel that exchange their names or their places: what one was, the other is with the patch. The code is right once all of it
 * is new, and what old code has left behind under the one name, new code finds under the other.
 */
export function refuseExchanged(unit: ComparedUnit): Refusal[] {
  return [...exchangedVariables(unit), ...exchangedCallbacks(unit)];
}

/** Variables: each place of the unit's code that used the one uses the other, and the code is otherwise the same. */
function exchangedVariables({ original, correlation, pair }: ComparedUnit): Refusal[] {
  const turnedInto = new Map<Atom, Set<Atom>>();
  for (const [before, after] of correlation.patchedOf) {
    if (before.kind !== "function" || isGone(before.section, pair.object)) continue;
    const comparable = isSameCode(before, after, original.arch);
    before.references.forEach((reference, number) => {
      const old = variableOf(reference);
      if (old === undefined) return;
      // Code that differs otherwise says nothing about which of its places is which, unless it knows one of the two alone.
      const fresh = comparable ? variableOf(after.references[number] as Reference) : undefined;
      const now = fresh === undefined ? undefined : correlation.originalOf.get(fresh);
      if (now === undefined) return;
      const set = turnedInto.get(old);
      if (set === undefined) turnedInto.set(old, new Set([now]));
      else set.add(now);
    });
  }
  const only = (atom: Atom): Atom | undefined => {
    const set = turnedInto.get(atom);
    return set?.size === 1 ? [...set][0] : undefined;
  };
  return [...turnedInto.keys()].flatMap((atom) => {
    const other = only(atom);
    if (other === undefined || other === atom || !isRound(atom, only)) return [];
    return [
      refuse(
        "NAMES_EXCHANGED",
        atom.base,
        { unit: pair.source, object: pair.object },
        { problem: `this variable is what ${other.base} was before` },
      ),
    ];
  });
}

/** True when following what each has turned into leads back to where it began. */
function isRound(from: Atom, next: (atom: Atom) => Atom | undefined): boolean {
  const seen = new Set<Atom>();
  for (let at = next(from); at !== undefined && !seen.has(at); at = next(at)) {
    if (at === from) return true;
    seen.add(at);
  }
  return false;
}

function variableOf({ target }: Reference): Atom | undefined {
  return target.kind === "atom" && target.atom.symbol !== undefined && isWritable(target.atom)
    ? target.atom
    : undefined;
}

/** Functions: one has become what another was, and objects from before the patch hold its address. */
function exchangedCallbacks({ original, patched, correlation, selection, pair }: ComparedUnit): Refusal[] {
  // What differs in a line number alone is not carried.
  const changed = selection.atoms.filter((atom) => {
    const before = correlation.originalOf.get(atom);
    return atom.kind === "function" && before !== undefined && !isSame(before, atom, before, original.arch);
  });
  if (changed.length === 0) return [];
  const functions = original.atoms.filter(
    (atom) => atom.kind === "function" && atom.symbol !== undefined && !isGone(atom.section, pair.object),
  );
  const added = patched.atoms.filter((atom) => atom.kind === "function" && !correlation.originalOf.has(atom));
  const users = collectUsers(original);
  const formerOf = new Map<Atom, Atom>();
  for (const atom of changed) {
    const before = correlation.originalOf.get(atom) as Atom;
    const other = functions.find((one) => one !== before && isSame(one, atom, before, original.arch));
    if (other !== undefined) formerOf.set(before, other);
  }
  return changed.flatMap((atom) => {
    const before = correlation.originalOf.get(atom) as Atom;
    const isHeld = (users.get(before) ?? []).some(
      ({ user, reference }) => !original.arch.isBranch(user, reference) && !isGone(user.section, pair.object),
    );
    if (!isHeld) return [];
    const place = { unit: pair.source, object: pair.object, function: atom.base };
    const other = formerOf.get(before);
    // Of functions that differ in a number alone, each may be like its neighbour when that number moves on: an exchange goes round, or one name is gone.
    const isExchange = isRound(before, (one) => formerOf.get(one));
    if (other !== undefined && (isExchange || !correlation.patchedOf.has(other)))
      return [
        refuse("NAMES_EXCHANGED", atom.base, place, { problem: `this function is what ${other.base} was before` }),
      ];
    const heir = added.find((candidate) => isSame(before, candidate, candidate, original.arch));
    if (heir === undefined) return [];
    return [
      refuse("NAMES_EXCHANGED", atom.base, place, {
        problem: `${heir.base} is what this function was before, and this is another one`,
      }),
    ];
  });
}

type Arch = ComparedUnit["original"]["arch"];

/** The same instructions, and the same names outside; the two functions themselves may stand for each other. */
function isSame(a: Atom, b: Atom, alias: Atom, arch: Arch): boolean {
  if (!isSameCode(a, b, arch)) return false;
  return a.references.every((reference, number) => {
    const [x, y] = [nameOf(reference), nameOf(b.references[number] as Reference)];
    return x === y || (x === a.name && y === alias.name);
  });
}

function nameOf({ target }: Reference): string {
  if (target.kind === "absolute") return `${target.addend}`;
  // Texts and tables of the compiler have no name that stays.
  if (target.kind === "atom") return target.atom.symbol === undefined ? "" : target.atom.base;
  return target.kind === "entry" ? target.entry.table : target.name;
}

/** The same bytes but for the places that refer to something, which are the same places. */
function isSameCode(a: Atom, b: Atom, arch: Arch): boolean {
  if (a.bytes.length !== b.bytes.length || a.references.length !== b.references.length) return false;
  const isPlaceSame = a.references.every((reference, number) => {
    const other = b.references[number] as Reference;
    const isAlike = reference.target.kind === other.target.kind && reference.target.addend === other.target.addend;
    return reference.offset === other.offset && reference.type === other.type && isAlike;
  });
  if (!isPlaceSame) return false;
  const [x, y] = [masked(a, arch), masked(b, arch)];
  return x.equals(y);
}

function masked(atom: Atom, arch: Arch): Buffer {
  const bytes = Buffer.from(atom.bytes);
  for (const { offset, type } of atom.references) bytes.fill(0, offset, offset + (arch.relocationWidth(type) ?? 0));
  return bytes;
}

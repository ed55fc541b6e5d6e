import type { Atom, Reference, TableEntry } from "../../diff/atoms.ts";
import type { Rewrite } from "../../diff/rewrites.ts";
import type { Selection } from "../../diff/select.ts";
import type { UnitObject } from "../../diff/unit-object.ts";

/** A static branch that reads its key each time, in place of one that the kernel writes into the code. */
export interface KeyBranch {
  /** The function. */
  readonly owner: Atom;
  /** The jump in the function, to the code that reads the key. */
  readonly rewrite: Rewrite;
  /** That code. */
  readonly code: Atom;
  /** How to unwind from it. */
  readonly unwind: TableEntry;
}

/** `struct jump_entry` since 4.19: two 32-bit places and the key, whose lowest bit tells the branch that is taken while the key is off. */
const targetAt = 4;
const keyAt = 8;

/**
 * Makes a branch on the value of a static key: the place gets a jump to code of its own, which compares the key's counter with zero and goes on as the
 * kernel would have let the place go on. A key is enabled when its counter, the first member of `struct static_key`, is not zero, and the place is a
 * jump when that differs from the entry's branch bit (jump_label_type(), kernel/jump_label.c). Flags are free there: the compiler takes every asm
 * statement to change them. Only a place of five bytes has room for the jump.
 * @returns undefined where it cannot be made.
 */
export function branchOnKey(entry: TableEntry, unit: UnitObject, selection: Selection): KeyBranch | undefined {
  const { place, references } = entry;
  const target = references.find(({ offset }) => offset === targetAt)?.target;
  const key = references.find(({ offset }) => offset === keyAt)?.target;
  if (place === undefined || target?.kind !== "atom" || key === undefined || key.kind === "absolute") return undefined;
  const { atom, offset } = place;
  const site = unit.arch.branchSite?.(atom.bytes, offset);
  const unwind = unwindEntryAt(selection, atom, offset);
  if (site === undefined || unwind === undefined) return undefined;
  const isTakenWhileOff = (key.addend & 1) !== 0;
  const parts = site.readingKey(isTakenWhileOff);
  // Bit 0 is the branch, bit 1 is the kernel's own.
  const variable = { ...key, addend: key.addend - (((key.addend % 4) + 4) % 4) };
  const reference = (at: number, type: number, to: Reference["target"], bias: number): Reference => ({
    offset: at,
    type,
    target: { ...to, addend: to.addend + bias },
    implicit: false,
  });
  const back: Reference["target"] = { kind: "atom", atom, addend: offset + site.bytes };
  const code: Atom = {
    kind: "code",
    section: atom.section,
    start: 0,
    end: parts.bytes.length,
    symbol: undefined,
    symbols: [],
    name: `${atom.name}+0x${offset.toString(16)} by its key`,
    base: atom.base,
    bytes: parts.bytes,
    references: [
      reference(parts.key.offset, parts.key.type, variable, parts.key.bias),
      reference(parts.taken.offset, parts.taken.type, target, parts.taken.bias),
      reference(parts.back.offset, parts.back.type, back, parts.back.bias),
    ],
  };
  const toCode: Reference["target"] = { kind: "atom", atom: code, addend: 0 };
  return {
    owner: atom,
    rewrite: {
      offset,
      bytes: site.jump.bytes,
      reference: reference(offset + site.jump.offset, site.jump.type, toCode, site.jump.bias),
    },
    code,
    unwind: {
      ...unwind,
      references: unwind.references.map((old) => ({ ...old, target: toCode })),
      place: { atom: code, offset: 0 },
    },
  };
}

/** The unwind entry in force at a place: the last one that begins at or before it. */
function unwindEntryAt(selection: Selection, atom: Atom, offset: number): TableEntry | undefined {
  const entries = (selection.entries.get(".orc_unwind_ip") ?? []).filter(({ place }) => place?.atom === atom);
  const before = entries.filter(({ place }) => (place?.offset ?? 0) <= offset);
  return before.sort((a, b) => (a.place?.offset ?? 0) - (b.place?.offset ?? 0)).at(-1);
}

/** A selection with branches that read their keys. */
export function withKeyBranches(selection: Selection, branches: readonly KeyBranch[]): Selection {
  if (branches.length === 0) return selection;
  const rewrites = new Map(selection.rewrites);
  for (const { owner, rewrite } of branches) rewrites.set(owner, [...(rewrites.get(owner) ?? []), rewrite]);
  const unwinding = ".orc_unwind_ip";
  const entries = new Map(selection.entries);
  entries.set(unwinding, [...(entries.get(unwinding) ?? []), ...branches.map(({ unwind }) => unwind)]);
  return { ...selection, atoms: [...selection.atoms, ...branches.map(({ code }) => code)], entries, rewrites };
}

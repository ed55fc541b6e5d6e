import type { Atom, Reference } from "../diff/atoms.ts";
import { describeTarget } from "../diff/compare.ts";
import { baseName } from "../diff/names.ts";
import { formatAddress } from "../elf/bytes.ts";
import { entryOffset } from "./entry-offset.ts";
import type { PlaceValue, TargetObject } from "./target-object.ts";

/**
 * How what a masked place holds was confirmed: the symbol table of the target has that name at that address; the module's own relocation names it; the bytes there
 * are those of the constant that is meant; it is a plain number; it is a place of the function itself; or every place of the unit's matched code that means it
 * holds the same address, and no symbol is listed there.
 */
export type Confirmation = "symbol" | "relocation" | "content" | "number" | "self" | "repeated";

/** A place whose bytes the linker filled: they differ, and what they stand for was compared instead. */
export interface MaskedPlace {
  /** From the first byte of the function. */
  readonly offset: number;
  /** Bytes. */
  readonly width: number;
  /** What the original refers to there. */
  readonly symbol: string;
  /** Address of it that the target holds there; null for a number, and in a module for what only its loader will know. */
  readonly address: string | null;
  readonly confirmed: Confirmation;
}

/** What was compared of one function. */
export interface FunctionRecord {
  /** `bytes`: each byte outside of the masked places; `instructions`: one by one, since the shipped build encodes a branch in another length. */
  readonly method: "bytes" | "instructions";
  /** Address of the function in the target. */
  readonly address: string;
  readonly bytes: number;
  readonly masked: readonly MaskedPlace[];
  /** Other things that were compared, byte for byte or through places of their own: constants and initial content of variables. */
  readonly content: readonly { readonly name: string; readonly bytes: number }[];
  /** Entries of tables about the function, by table. */
  readonly tables: readonly { readonly table: string; readonly entries: number }[];
}

/** Told of each thing that a comparison holds against the target. */
export class ComparisonRecord {
  readonly places: { readonly atom: Atom; readonly reference: Reference; readonly value: PlaceValue; width: number }[] =
    [];
  readonly tables = new Map<string, number>();
  readonly contents = new Set<Atom>();

  place(atom: Atom, reference: Reference, value: PlaceValue, width: number): void {
    this.places.push({ atom, reference, value, width });
  }

  content(atom: Atom): void {
    this.contents.add(atom);
  }

  entries(table: string, count: number): void {
    if (count > 0) this.tables.set(table, (this.tables.get(table) ?? 0) + count);
  }

  /** The record of a function. @param running the address that code of a patch module in force stands for. */
  of(atom: Atom, address: number, method: FunctionRecord["method"], target: TargetObject): FunctionRecord {
    const own = this.places.filter((place) => place.atom === atom);
    return {
      method,
      address: formatAddress(address),
      bytes: atom.end - atom.start,
      masked: own.map(({ reference, value, width }) => ({
        offset: reference.offset,
        width,
        symbol: describeTarget(reference.target),
        ...this.#confirmation(atom, reference, value, target),
      })),
      content: [...this.contents]
        .filter((other) => other !== atom)
        .map((other) => ({
          name: describeTarget({ kind: "atom", atom: other, addend: 0 }),
          bytes: other.end - other.start,
        })),
      tables: [...this.tables].map(([table, entries]) => ({ table, entries })),
    };
  }

  #confirmation(
    from: Atom,
    { target }: Reference,
    value: PlaceValue,
    object: TargetObject,
  ): Pick<MaskedPlace, "address" | "confirmed"> {
    if (value.kind === "external") return { address: null, confirmed: "relocation" };
    if (value.kind === "absolute" || target.kind === "absolute") return { address: null, confirmed: "number" };
    if (target.kind === "entry") return { address: formatAddress(value.address - target.addend), confirmed: "content" };
    const entry = target.kind === "atom" ? entryOffset(target.atom) : 0;
    const found = value.address - target.addend + entry;
    const address = formatAddress(found);
    if (target.kind === "atom" && target.atom === from)
      return { address: formatAddress(value.address), confirmed: "self" };
    const names = object.symbolsAt(object.canonical?.(found) ?? found).map(({ name }) => name);
    const isNamed =
      target.kind === "external"
        ? names.includes(target.name)
        : target.atom.symbol !== undefined && names.some((name) => baseName(name) === target.atom.base);
    if (isNamed) return { address, confirmed: "symbol" };
    return { address, confirmed: target.kind === "atom" && this.contents.has(target.atom) ? "content" : "repeated" };
  }
}

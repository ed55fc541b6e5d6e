import { readDebugEntries } from "../../elf/debug-entries.ts";
import { type DebugEntry, DebugTag } from "../../elf/debug-entry.ts";
import type { Atom, Reference, Target } from "../atoms.ts";
import type { Comparison } from "../compare.ts";
import type { Correlation } from "../correlate.ts";
import { isLocalConstant } from "../declarations.ts";
import type { UnitObject } from "../unit-object.ts";
import { DebugTypes, wordOf } from "./debug-types.ts";

/** A number, or the address of something. */
export type HeldValue =
  | { readonly kind: "number"; readonly value: bigint }
  | { readonly kind: "address"; readonly target: Target };

/** A number or pointer of a variable whose initial value a patch changes. */
export interface ChangedValue {
  /** As C writes it: `table[3].ops.open`. */
  readonly expression: string;
  /** Name of the innermost member; the variable's where it has none. */
  readonly member: string;
  /** The innermost struct that the value is in, as `struct name`; undefined for a variable that is a number, or an array of them. */
  readonly holder: string | undefined;
  /** Expression of that struct's object. */
  readonly object: string;
  /** Bytes from the start of the variable. */
  readonly offset: number;
  /** Bytes: 1, 2, 4 or 8. */
  readonly size: number;
  readonly isFunction: boolean;
  readonly before: HeldValue;
  readonly after: HeldValue;
}

/** What keeps a difference from being told as values. */
export interface UntoldValue {
  /** Expression as far as it is known. */
  readonly expression: string;
  readonly problem: string;
}

/** All values of a variable that a patch changes. */
export interface ChangedVariable {
  readonly name: string;
  /** `struct name` of the variable, or of the elements of an array; undefined for numbers and pointers. */
  readonly type: string | undefined;
  readonly isArray: boolean;
  /** Line of the declaration; 0 when it is not known. */
  readonly line: number;
  readonly values: readonly ChangedValue[];
  readonly untold: readonly UntoldValue[];
  /** Constants of the patched unit that it leads to, and that change themselves. */
  readonly constants: readonly Atom[];
}

/** Where a number or pointer is. */
interface Leaf {
  readonly expression: string;
  readonly member: string;
  readonly holder: string | undefined;
  readonly object: string;
  readonly start: number;
  readonly size: number;
  readonly isFunction: boolean;
}

/** Types nest less deep; damaged ones may go on for ever. */
const deepest = 32;

/** Tells initial values that a patch changes, by the patched unit's debug information. */
export class ValueReader {
  readonly #types: DebugTypes;
  readonly #comparison: Comparison;
  readonly #correlation: Correlation;

  constructor(patched: UnitObject, comparison: Comparison, correlation: Correlation) {
    this.#types = new DebugTypes(readDebugEntries(patched.elf));
    this.#comparison = comparison;
    this.#correlation = correlation;
  }

  /**
   * What a patch changes in a variable that has the same size in both builds.
   * @returns undefined for one that the debug information does not describe, or describes more than once.
   */
  changed(before: Atom, after: Atom): ChangedVariable | undefined {
    const name = after.symbol?.name ?? "";
    const entries = [...this.#types.entries.values()].filter(
      (entry) => entry.tag === DebugTag.variable && entry.isStatic && this.#nameOf(entry) === name,
    );
    const [entry] = entries;
    if (entry === undefined || entries.length > 1) return undefined;
    const declared = this.#declared(entry);
    if (this.#types.scopeOf(declared) !== "") return undefined;
    const type = entry.type ?? declared.type;
    const held = this.#types.held(type);
    const isStruct = held !== undefined && (held.tag === DebugTag.structure || held.tag === DebugTag.union);
    const values: ChangedValue[] = [];
    const untold: UntoldValue[] = [];
    const start = (after.symbol?.value ?? after.start) - after.start;
    const { offsets, constants } = this.#differences(before, after);
    for (const offset of offsets) {
      if (values.some((value) => offset >= value.offset && offset < value.offset + value.size)) continue;
      const reference = referenceAt(after, offset) ?? referenceAt(before, offset);
      const at = (reference?.offset ?? offset) - start;
      const leaf = this.#leaf(type, at, { expression: name, member: name }, reference !== undefined);
      if ("problem" in leaf) {
        if (!untold.some(({ expression }) => expression === leaf.expression)) untold.push(leaf);
        continue;
      }
      const { start: from, ...told } = leaf;
      values.push({
        ...told,
        offset: from,
        before: heldAt(before, from + start, leaf.size),
        after: heldAt(after, from + start, leaf.size),
      });
    }
    return {
      ...{ name, type: isStruct ? `${wordOf(held)} ${held.name}` : undefined },
      ...{ isArray: this.#types.isArray(type), line: declared.line ?? 0, values, untold, constants },
    };
  }

  #declared(entry: DebugEntry): DebugEntry {
    return entry.origin === undefined ? entry : (this.#types.entries.get(entry.origin) ?? entry);
  }

  #nameOf(entry: DebugEntry): string {
    return entry.name === "" ? this.#declared(entry).name : entry.name;
  }

  /** Offsets of bytes and of references that differ, in order; a reference to a constant that changes is not one by that. */
  #differences(
    before: Atom,
    after: Atom,
  ): { readonly offsets: readonly number[]; readonly constants: readonly Atom[] } {
    const offsets = new Set<number>();
    const constants = new Set<Atom>();
    const length = Math.max(before.bytes.length, after.bytes.length);
    for (let at = 0; at < length; at++) if ((before.bytes[at] ?? 0) !== (after.bytes[at] ?? 0)) offsets.add(at);
    for (const { offset } of [...before.references, ...after.references]) {
      const [x, y] = [referenceAt(before, offset), referenceAt(after, offset)];
      const constant = x === undefined || y === undefined ? undefined : this.#changedConstant(x.target, y.target);
      if (constant !== undefined) constants.add(constant);
      const isSame =
        x !== undefined && y !== undefined && x.type === y.type && this.#comparison.targetsEqual(x.target, y.target);
      if (!isSame && constant === undefined) offsets.add(offset);
      else for (let at = offset; at < offset + 8; at++) offsets.delete(at);
    }
    return { offsets: [...offsets].sort((a, b) => a - b), constants: [...constants] };
  }

  /** The constant that both references lead to, where its content changes. */
  #changedConstant(x: Target, y: Target): Atom | undefined {
    if (x.kind !== "atom" || y.kind !== "atom" || x.addend !== y.addend || !isLocalConstant(y.atom)) return undefined;
    if (y.atom.symbol === undefined || this.#correlation.originalOf.get(y.atom) !== x.atom) return undefined;
    return this.#comparison.difference(x.atom, y.atom) === null ? undefined : y.atom;
  }

  /** The number or pointer that a byte of a type belongs to. @param isAddress of several in a union, the pointer is meant. */
  #leaf(
    type: number | undefined,
    at: number,
    path: { readonly expression: string; readonly member: string; readonly holder?: string; readonly object?: string },
    isAddress: boolean,
    base = 0,
    depth = 0,
  ): Leaf | UntoldValue {
    const { expression } = path;
    const entry = this.#types.plain(type);
    const untold = (problem: string): UntoldValue => ({ expression, problem });
    if (entry === undefined || depth > deepest) return untold("its type is not known");
    switch (entry.tag) {
      case DebugTag.base:
      case DebugTag.enumeration:
      case DebugTag.pointer: {
        const size = entry.size ?? 8;
        const isPointer = entry.tag === DebugTag.pointer;
        if (![1, 2, 4, 8].includes(size)) return untold(`it has ${size} bytes`);
        if (isAddress && !isPointer && size !== 8) return untold("it is a part of an address");
        const isFunction = isPointer && this.#types.plain(entry.type)?.tag === DebugTag.subroutineType;
        const { member, holder, object = expression } = path;
        return { expression, member, holder, object, start: base, size, isFunction };
      }
      case DebugTag.array: {
        const size = this.#types.size(entry.type);
        if (size === undefined || size === 0) return untold("its type is not known");
        const index = Math.floor((at - base) / size);
        const inside = { ...path, expression: `${expression}${this.#types.subscripts(entry, index)}` };
        return this.#leaf(entry.type, at, inside, isAddress, base + index * size, depth + 1);
      }
      case DebugTag.structure:
      case DebugTag.union: {
        const title = entry.name === "" ? path.holder : `${wordOf(entry)} ${entry.name}`;
        const object = entry.name === "" ? (path.object ?? expression) : expression;
        const found = this.#membersAt(entry, at - base).map((member): Leaf | UntoldValue => {
          const name = member.name === "" ? expression : `${expression}.${member.name}`;
          if (member.bitOffset !== undefined) return { expression: name, problem: "it is a bit field" };
          const inner = { expression: name, member: member.name || path.member, holder: title ?? "", object };
          return this.#leaf(member.type, at, inner, isAddress, base + (member.memberOffset ?? 0), depth + 1);
        });
        const leaves = found.filter((leaf): leaf is Leaf => !("problem" in leaf));
        // Of several in a union, a number is the smallest that the difference is in.
        const smallest = leaves.toSorted((x, y) => x.size - y.size)[0];
        const best = isAddress ? leaves.find(({ size }) => size === 8) : smallest;
        return best ?? found[0] ?? untold("the bytes between its members differ");
      }
      default:
        return untold("it is neither a number nor a pointer");
    }
  }

  #membersAt({ children }: DebugEntry, offset: number): DebugEntry[] {
    return children.filter(({ tag, type, memberOffset = 0, bitOffset }) => {
      if (tag !== DebugTag.member) return false;
      const from = bitOffset === undefined ? memberOffset : Math.floor(bitOffset / 8);
      const size = this.#types.size(type) ?? 0;
      return offset >= from && offset < from + size;
    });
  }
}

function referenceAt({ references }: Atom, offset: number): Reference | undefined {
  return references.find((reference) => offset >= reference.offset && offset < reference.offset + 8);
}

function heldAt(atom: Atom, offset: number, size: number): HeldValue {
  const reference = atom.references.find((other) => other.offset === offset);
  if (reference !== undefined) return { kind: "address", target: reference.target };
  let value = 0n;
  for (let at = size - 1; at >= 0; at--) value = (value << 8n) | BigInt(atom.bytes[offset + at] ?? 0);
  return { kind: "number", value };
}

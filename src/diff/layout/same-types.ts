import type { Btf } from "../../kernel/types/btf.ts";
import { BtfFormatError, BtfKind } from "../../kernel/types/btf-format.ts";

/** How deep types may nest in each other without names; the kernel's own stay below ten. */
const deepest = 200;

/**
 * Compares types of two BTFs. Named structs, unions and enums (and unnamed ones that a typedef names) are the same when their names are: each of
 * them is compared on its own, once. Other typedefs, qualifiers and parameter names do not count.
 */
export class TypePairs {
  readonly a: Btf;
  readonly b: Btf;
  /** Pairs of unnamed types that are known to be the same, or are being compared further up. */
  readonly #same = new Map<number, boolean>();
  #depth = 0;

  constructor(a: Btf, b: Btf) {
    this.a = a;
    this.b = b;
  }

  /** The second BTF's types against those of another. */
  against(a: Btf): TypePairs {
    return new TypePairs(a, this.b);
  }

  /** @throws BtfFormatError when damaged data nests without an end. */
  sameType(x: number, y: number): boolean {
    const { a, b } = this;
    const [left, right] = [a.resolve(x), b.resolve(y)];
    const kind = wordOf(a, left);
    if (kind !== wordOf(b, right)) return false;
    switch (kind) {
      case "void":
        return true;
      case "int":
      case "float":
        return sameNumber(a, left, b, right);
      case "struct":
      case "union":
      case "enum": {
        const name = a.name(left);
        if (name !== b.name(right)) return false;
        if (name !== "") return true;
        const alias = typedefNameOf(a, x);
        if (alias !== undefined && alias === typedefNameOf(b, y)) return true;
        return this.#once(left, right, () => this.sameDefinition(left, right));
      }
      case "array": {
        const [from, to] = [a.array(left), b.array(right)];
        return from.length === to.length && this.#once(left, right, () => this.sameType(from.element, to.element));
      }
      case "pointer":
        return this.#once(left, right, () => this.sameType(a.target(left), b.target(right)));
      case "function":
        return this.#once(left, right, () => this.samePrototype(left, right));
      default:
        return false;
    }
  }

  /** Size and every member, or every enumerator, with its place and name. */
  sameDefinition(x: number, y: number): boolean {
    const { a, b } = this;
    const kind = wordOf(a, x);
    if (kind !== wordOf(b, y)) return false;
    if (isForward(a, x) || isForward(b, y)) return isForward(a, x) === isForward(b, y);
    if (a.size(x) !== b.size(y) || a.entryCount(x) !== b.entryCount(y)) return false;
    if (kind === "enum") {
      const others = b.enumerators(y);
      return a.enumerators(x).every(({ name, value }, index) => {
        const other = others[index];
        return other !== undefined && name === other.name && sameValue(value, other.value);
      });
    }
    const others = b.members(y);
    return a.members(x).every((member, index) => {
      const other = others[index];
      return (
        other !== undefined &&
        member.offset === other.offset &&
        member.width === other.width &&
        member.name === other.name &&
        this.sameType(member.type, other.type)
      );
    });
  }

  /** What is returned and taken; the two are of kind `funcProto`. */
  samePrototype(x: number, y: number): boolean {
    const { a, b } = this;
    const [from, to] = [a.parameters(x), b.parameters(y)];
    return (
      from.length === to.length &&
      this.sameType(a.target(x), b.target(y)) &&
      from.every(({ type }, index) => this.sameType(type, to[index]?.type ?? 0))
    );
  }

  #once(x: number, y: number, compare: () => boolean): boolean {
    const key = x * 0x400_0000 + y;
    const known = this.#same.get(key);
    if (known !== undefined) return known;
    if (this.#depth >= deepest) throw new BtfFormatError("types nest without an end", this.a.source, 0, x);
    this.#same.set(key, true);
    this.#depth++;
    const same = compare();
    this.#depth--;
    this.#same.set(key, same);
    return same;
  }
}

/** What C calls a type; a forward declaration counts as what it declares. */
export function wordOf(btf: Btf, type: number): string {
  const kind = btf.kind(type);
  if (kind === BtfKind.fwd) return btf.flag(type) ? "union" : "struct";
  return words[kind] ?? "other";
}

const words: Readonly<Partial<Record<BtfKind, string>>> = {
  [BtfKind.void]: "void",
  [BtfKind.int]: "int",
  [BtfKind.float]: "float",
  [BtfKind.ptr]: "pointer",
  [BtfKind.array]: "array",
  [BtfKind.struct]: "struct",
  [BtfKind.union]: "union",
  [BtfKind.enum]: "enum",
  [BtfKind.enum64]: "enum",
  [BtfKind.typedef]: "typedef",
  [BtfKind.func]: "definition",
  [BtfKind.funcProto]: "function",
};

/** True for a struct or union whose members are not known; an enum without enumerators is a forward declaration too. */
export function isForward(btf: Btf, type: number): boolean {
  const kind = btf.kind(type);
  return kind === BtfKind.fwd || (kind === BtfKind.enum && btf.entryCount(type) === 0);
}

/** The typedef nearest to the struct, union or enum that a type (or its elements) is. */
export function typedefNameOf(btf: Btf, type: number): string | undefined {
  let name: string | undefined;
  let current = type;
  for (let step = 0; step < deepest; step++) {
    const kind = btf.kind(current);
    if (kind === BtfKind.typedef) name = btf.name(current);
    if (kind === BtfKind.array) {
      name = undefined;
      current = btf.array(current).element;
    } else if (transparent.has(kind)) current = btf.target(current);
    else return name;
  }
  return name;
}

const transparent: ReadonlySet<number> = new Set([
  BtfKind.typedef,
  BtfKind.const,
  BtfKind.volatile,
  BtfKind.restrict,
  BtfKind.typeTag,
]);

/** Old encoders kept 32 bits of an enumerator's value, and did not say whether it is signed. */
export function sameValue(a: bigint, b: bigint): boolean {
  if (a === b) return true;
  const fits = (value: bigint): boolean => value >= -0x8000_0000n && value <= 0xffff_ffffn;
  return fits(a) && fits(b) && BigInt.asUintN(32, a) === BigInt.asUintN(32, b);
}

function sameNumber(a: Btf, x: number, b: Btf, y: number): boolean {
  if (a.size(x) !== b.size(y)) return false;
  if (a.kind(x) !== BtfKind.int) return true;
  const [left, right] = [a.int(x), b.int(y)];
  return left.encoding === right.encoding && left.bits === right.bits;
}

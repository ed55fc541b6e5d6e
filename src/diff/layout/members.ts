import type { Btf } from "../../kernel/types/btf.ts";
import { BtfFormatError, BtfKind } from "../../kernel/types/btf-format.ts";
import { typedefNameOf } from "./same-types.ts";
import { declaration } from "./type-text.ts";

/** A named piece of a struct or union. Members of unnamed structs inside of it stand on their own, in its place. */
export interface FlatMember {
  /** With the names of the unnamed types' members that it is in: `stats.hits`, `slots[].key`. */
  readonly path: string;
  /** The last name of the path. */
  readonly name: string;
  /** Bits from the start of the outermost struct (of the first element, inside of an array). */
  readonly offset: number;
  /** Bits. */
  readonly size: number;
  readonly isBitField: boolean;
  readonly type: number;
  /** As C declares it. */
  readonly text: string;
}

/** Far more than the largest struct of the kernel has. */
const mostMembers = 10_000;
const deepestNesting = 64;
/** Bytes. BTF does not say how large pointers are, and all kernels that kmend reads are 64-bit ones. */
const pointerSize = 8;

/**
 * The members of a struct or union in order, unnamed structs and unions dissolved.
 * @throws BtfFormatError when damaged data nests without an end.
 */
export function flatMembers(btf: Btf, type: number): readonly FlatMember[] {
  const flat: FlatMember[] = [];
  const add = (aggregate: number, prefix: string, base: number, depth: number): void => {
    if (depth > deepestNesting || flat.length > mostMembers) {
      throw new BtfFormatError("unnamed structs nest without an end", btf.source, 0, aggregate);
    }
    for (const member of btf.members(aggregate)) {
      const path = `${prefix}${member.name}`;
      const offset = base + member.offset;
      const inner = unnamedAggregate(btf, member.type);
      const isArray = inner !== undefined && btf.kind(btf.resolve(member.type)) === BtfKind.array;
      if (inner === undefined || isArray) {
        const isBitField = member.width > 0;
        const size = isBitField ? member.width : sizeOf(btf, member.type) * 8;
        const text = `${declaration(btf, member.type, path)}${isBitField ? `:${member.width}` : ""}`;
        flat.push({ path, name: member.name, offset, size, isBitField, type: member.type, text });
      }
      if (inner !== undefined) {
        add(inner, member.name === "" ? prefix : `${path}${isArray ? "[]" : ""}.`, offset, depth + 1);
      }
    }
  };
  add(type, "", 0, 0);
  return flat;
}

/** The struct or union without a name that a type is, or has as the elements of an array; undefined for any other type. */
function unnamedAggregate(btf: Btf, type: number): number | undefined {
  const element = elementOf(btf, type);
  const kind = btf.kind(element);
  const isUnnamed = (kind === BtfKind.struct || kind === BtfKind.union) && btf.name(element) === "";
  // A struct that only a typedef names is compared under that name.
  return isUnnamed && typedefNameOf(btf, type) === undefined ? element : undefined;
}

/** The innermost element of arrays of arrays, resolved; any other type resolved. */
export function elementOf(btf: Btf, type: number): number {
  let current = btf.resolve(type);
  for (let depth = 0; btf.kind(current) === BtfKind.array; depth++) {
    if (depth > deepestNesting) throw new BtfFormatError("arrays nest without an end", btf.source, 0, type);
    current = btf.resolve(btf.array(current).element);
  }
  return current;
}

/** Bytes that an object of a type takes; 0 for void, functions and forward declarations. */
export function sizeOf(btf: Btf, type: number, depth = 0): number {
  const resolved = btf.resolve(type);
  switch (btf.kind(resolved)) {
    case BtfKind.int:
    case BtfKind.float:
    case BtfKind.struct:
    case BtfKind.union:
    case BtfKind.enum:
    case BtfKind.enum64:
      return btf.size(resolved);
    case BtfKind.ptr:
      return pointerSize;
    case BtfKind.array: {
      if (depth > deepestNesting) throw new BtfFormatError("arrays nest without an end", btf.source, 0, type);
      const { element, length } = btf.array(resolved);
      return length * sizeOf(btf, element, depth + 1);
    }
    default:
      return 0;
  }
}

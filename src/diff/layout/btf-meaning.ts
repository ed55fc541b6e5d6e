import type { Btf } from "../../kernel/types/btf.ts";
import { BtfKind, IntEncoding } from "../../kernel/types/btf-format.ts";

/** Types nest less deep; damaged ones may go on for ever. */
const deepest = 16;

/** A type of the kernel, written as `DebugTypes.meaning` writes one of a unit, with signs. */
export function btfMeaning(btf: Btf, type: number, depth = 0): string {
  const resolved = btf.resolve(type);
  if (resolved === 0) return "void";
  if (depth > deepest) return "…";
  const inner = (of: number): string => btfMeaning(btf, of, depth + 1);
  const kind = btf.kind(resolved);
  switch (kind) {
    case BtfKind.int: {
      const [size, { encoding }] = [btf.size(resolved), btf.int(resolved)];
      if ((encoding & IntEncoding.bool) !== 0) return `bool${size}`;
      return `${(encoding & IntEncoding.signed) !== 0 || size === 1 ? "" : "u"}int${size}`;
    }
    case BtfKind.float:
      return `float${btf.size(resolved)}`;
    case BtfKind.enum:
    case BtfKind.enum64:
      return `enum${btf.size(resolved)}`;
    case BtfKind.ptr:
      return `*${inner(btf.target(resolved))}`;
    case BtfKind.array: {
      const { element, length } = btf.array(resolved);
      return `[${length === 0 ? "" : length}]${inner(element)}`;
    }
    case BtfKind.func:
      return inner(btf.target(resolved));
    case BtfKind.funcProto: {
      const takes = btf.parameters(resolved).map(({ type: of }) => (of === 0 ? "…" : inner(of)));
      return `(${takes.join()})${inner(btf.target(resolved))}`;
    }
    case BtfKind.fwd:
      return `${btf.flag(resolved) ? "union" : "struct"} ${btf.name(resolved)}`;
    case BtfKind.struct:
    case BtfKind.union: {
      const word = kind === BtfKind.union ? "union" : "struct";
      const name = btf.name(resolved);
      const named = name === "" ? lastTypedef(btf, type) : `${word} ${name}`;
      if (named !== undefined) return named;
      const members = btf.members(resolved).map((member) => `${member.name}:${inner(member.type)}`);
      return `${word}${btf.size(resolved)}{${members.join()}}`;
    }
    default:
      return `kind ${kind}`;
  }
}

/** The typedef that is nearest to the definition. */
function lastTypedef(btf: Btf, type: number): string | undefined {
  const end = btf.resolve(type);
  let alias: string | undefined;
  for (let current = type; current !== end; current = btf.target(current))
    if (btf.kind(current) === BtfKind.typedef) alias = btf.name(current);
  return alias;
}

/** Numbers of a size are those of an enum of that size, which C converts without a word. */
export function isSameMeaning(a: string, b: string): boolean {
  if (a === b) return true;
  const [left, right] = [a.split(number), b.split(number)];
  return (
    left.length === right.length &&
    left.every((part, index) => {
      const other = right[index] as string;
      if (part === other) return true;
      const isEnum = part.startsWith("enum") || other.startsWith("enum");
      return isEnum && sizeOf(part) !== "" && sizeOf(part) === sizeOf(other);
    })
  );
}

/** Keeps the numbers themselves among the parts. */
const number = /(?<![\w ])((?:u?int|enum)\d+)(?!\w)/;

function sizeOf(part: string): string {
  return /^(?:u?int|enum)(\d+)$/.exec(part)?.[1] ?? "";
}

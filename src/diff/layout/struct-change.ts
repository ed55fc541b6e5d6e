import { BtfKind, IntEncoding } from "../../kernel/types/btf-format.ts";
import { counted } from "../../support/counted.ts";
import { elementOf, type FlatMember, flatMembers } from "./members.ts";
import { type TypePairs, typedefNameOf, wordOf } from "./same-types.ts";
import { sideBySide } from "./side-by-side.ts";
import { typeName } from "./type-text.ts";

/** What the two definitions of one type disagree about. */
export interface TypeChange {
  /** One clause for each difference that live objects or unpatched code would feel. */
  readonly problems: readonly string[];
  /** One clause for each difference that leaves all of them as they are. */
  readonly remarks: readonly string[];
  /** Both definitions beside each other. */
  readonly layouts: readonly string[];
  /** Only places moved, and these types, which it holds by value, may be why. */
  readonly movedBy: readonly string[];
  /** The only difference are these new members, each in padding that no code of the kernel writes to. */
  readonly filled?: readonly FilledPadding[];
}

/** A new member in the padding of a type. */
export interface FilledPadding {
  readonly name: string;
  /** Bytes from the start of the type. */
  readonly offset: number;
}

/**
 * Compares two definitions of a struct or union member by member.
 *
 * A member with another name counts as removed and added even where place and type are the same: a renamed one cannot be told from one that took the
 * place of another, and live objects hold the values of the latter. Members that a patch only puts into an unnamed struct or takes out of one keep
 * their last name and their place, and stay what they are.
 */
export function structChange(types: TypePairs, x: number, y: number, titles: readonly [string, string]): TypeChange {
  const { a, b } = types;
  const [before, after] = [flatMembers(a, x), flatMembers(b, y)];
  const problems: string[] = [];
  const remarks: string[] = [];
  const [oldSize, newSize] = [a.size(x), b.size(y)];
  if (wordOf(a, x) !== wordOf(b, y)) problems.push(`it was a ${wordOf(a, x)} and is a ${wordOf(b, y)}`);
  if (oldSize !== newSize) problems.push(`its size changes from ${oldSize} to ${newSize} bytes`);
  const filled: FilledPadding[] = [];
  const found = new Set<FlatMember>();
  const oldByPath = new Map(before.map((member) => [member.path, member]));
  const added: FlatMember[] = [];
  for (const member of after) {
    const old = oldByPath.get(member.path);
    if (old === undefined) {
      added.push(member);
      continue;
    }
    found.add(old);
    const problem = memberProblem(types, old, member);
    if (problem !== undefined) problems.push(problem);
    else if (!types.sameType(old.type, member.type)) remarks.push(retyped(old, member));
  }
  for (const member of added) {
    const old = before.find(
      ({ name, offset, size, type }) =>
        name === member.name && offset === member.offset && size === member.size && types.sameType(type, member.type),
    );
    if (old === undefined) {
      problems.push(`${nameOf(member)} is new at ${place(member)}${placeRemark(member, before, oldSize)}`);
      if (isUnwritten(member, before, oldSize)) filled.push({ name: member.name, offset: member.offset >> 3 });
    } else {
      found.add(old);
      remarks.push(`${old.path} is now ${member.path}, at the same place`);
    }
  }
  for (const member of before) if (!found.has(member)) problems.push(`${nameOf(member)} is gone from ${place(member)}`);
  return {
    problems,
    remarks,
    layouts: sideBySide(titles, layoutLines(before, oldSize), layoutLines(after, newSize)),
    movedBy: sameShape(types, before, after) ? heldByValue(types, before) : [],
    ...(filled.length > 0 && filled.length === problems.length ? { filled } : {}),
  };
}

/** Bits that the compiler may write together with a bit field: those of the largest type that one can be of. */
const wordBits = 64;

/**
 * True for padding that stays as it is whatever the kernel's code does. A bit field is written as part of a word, with the padding of that word, so only
 * another bit field, which new code writes in the same way, can be beside it.
 */
function isUnwritten(member: FlatMember, before: readonly FlatMember[], oldSize: number): boolean {
  const end = member.offset + member.size;
  if (member.path !== member.name || member.name === "" || member.size === 0 || end > oldSize * 8) return false;
  const isFree = before.every((old) => end <= old.offset || old.offset + old.size <= member.offset);
  const wordOfBit = (bit: number): number => Math.floor(bit / wordBits);
  const isBesideBits = before.some(
    (old) =>
      old.isBitField &&
      wordOfBit(old.offset) <= wordOfBit(end - 1) &&
      wordOfBit(member.offset) <= wordOfBit(old.offset + old.size - 1),
  );
  return isFree && (member.isBitField || !isBesideBits);
}

function memberProblem(types: TypePairs, old: FlatMember, member: FlatMember): string | undefined {
  const name = nameOf(member);
  if (old.offset !== member.offset) return `${name} moves from ${place(old)} to ${place(member)}`;
  if (old.isBitField !== member.isBitField || (old.isBitField && old.size !== member.size))
    return `${name} changes from ${widthOf(old)} to ${widthOf(member)}`;
  if (types.sameType(old.type, member.type)) return undefined;
  // One bit that is set reads as 1 or as −1.
  const isSigned = (btf: TypePairs["a"], type: number): boolean => {
    const resolved = btf.resolve(type);
    return btf.kind(resolved) === BtfKind.int && (btf.int(resolved).encoding & IntEncoding.signed) !== 0;
  };
  const keepsSign = !member.isBitField || isSigned(types.a, old.type) === isSigned(types.b, member.type);
  if (keepsSign && old.size === member.size && isHarmless(types, old.type, member.type)) return undefined;
  return `${name} changes its type from ${old.text} to ${member.text}`;
}

/** A type that keeps the meaning of the bits: integers and enums of one size, whatever their sign, and pointers to something and to anything. */
export function isHarmless(types: TypePairs, x: number, y: number): boolean {
  const { a, b } = types;
  const [left, right] = [a.resolve(x), b.resolve(y)];
  const [from, to] = [wordOf(a, left), wordOf(b, right)];
  if (from === "pointer" && to === "pointer")
    return isVoid(a.kind(a.resolve(a.target(left)))) || isVoid(b.kind(b.resolve(b.target(right))));
  const isNumber = (word: string): boolean => word === "int" || word === "enum";
  if (!isNumber(from) || !isNumber(to) || a.size(left) !== b.size(right)) return false;
  const isBool = (word: string, encoding: number): boolean => word === "int" && (encoding & IntEncoding.bool) !== 0;
  const [fromBool, toBool] = [isBool(from, encodingOf(types.a, left)), isBool(to, encodingOf(types.b, right))];
  return fromBool === toBool;
}

function encodingOf(btf: TypePairs["a"], type: number): number {
  return btf.kind(type) === BtfKind.int ? btf.int(type).encoding : 0;
}

function isVoid(kind: number): boolean {
  return kind === BtfKind.void;
}

function retyped(old: FlatMember, member: FlatMember): string {
  return `${nameOf(member)} is declared as ${member.text} and was ${old.text}: old and new code read the same bits differently`;
}

/** The same members with the same types and widths in the same order, wherever they are. */
function sameShape(types: TypePairs, before: readonly FlatMember[], after: readonly FlatMember[]): boolean {
  return (
    before.length === after.length &&
    before.every((member, index) => {
      const other = after[index] as FlatMember;
      return (
        member.path === other.path &&
        member.isBitField === other.isBitField &&
        (!member.isBitField || member.size === other.size) &&
        types.sameType(member.type, other.type)
      );
    })
  );
}

/** Names of the structs and unions that are members themselves, not behind a pointer. */
function heldByValue({ a }: TypePairs, members: readonly FlatMember[]): string[] {
  const names = members.flatMap(({ type }) => {
    const element = elementOf(a, type);
    const word = wordOf(a, element);
    if (word !== "struct" && word !== "union" && word !== "enum") return [];
    if (a.name(element) !== "") return [typeName(a, element)];
    const alias = typedefNameOf(a, type);
    return alias === undefined ? [] : [alias];
  });
  return [...new Set(names)];
}

function placeRemark(member: FlatMember, before: readonly FlatMember[], oldSize: number): string {
  if (member.offset >= oldSize * 8) return ", behind the end of live objects";
  const taken = before.find(
    (old) => old.offset < member.offset + Math.max(1, member.size) && member.offset < old.offset + old.size,
  );
  return taken === undefined
    ? ", in padding, which nothing has set in live objects"
    : `, where live objects have ${nameOf(taken)}`;
}

function nameOf(member: FlatMember): string {
  return member.path === "" ? "an unnamed bit field" : member.path;
}

function widthOf(member: FlatMember): string {
  return member.isBitField ? `a bit field of ${counted(member.size, "bit")}` : "an ordinary member";
}

function place({ offset, isBitField }: FlatMember): string {
  return isBitField ? `offset ${offset >> 3}, bit ${offset & 7}` : `offset ${offset >> 3}`;
}

function layoutLines(members: readonly FlatMember[], size: number): string[] {
  const lines = members.map(({ offset, isBitField, text }) => {
    const at = isBitField ? `${offset >> 3}.${offset & 7}` : `${offset >> 3}`;
    return `${at.padStart(6)}  ${text};`;
  });
  return [...lines, `${String(size).padStart(6)}  (end)`];
}

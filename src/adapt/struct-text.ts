import type { SourceText, Span } from "./source-text.ts";

/** A member as the source declares it. */
export interface MemberText extends Span {
  readonly name: string;
  /** The declaration without comments, white space made single. */
  readonly declaration: string;
  /** True for a declaration that has one plain name: no list, no bit field, no function pointer, no unnamed struct, and no preprocessor conditional around it. */
  readonly isPlain: boolean;
}

/** A struct where the source defines it. */
export interface StructText {
  readonly tag: string;
  /** The word `struct`. */
  readonly start: number;
  /** Offsets of the braces. */
  readonly open: number;
  readonly close: number;
  /** Offset behind the `;` that ends the declaration. */
  readonly end: number;
  readonly members: readonly MemberText[];
}

/** All definitions of `struct tag` in a file. */
export function findStructs(source: SourceText, tag: string): StructText[] {
  const found: StructText[] = [];
  const pattern = new RegExp(`\\bstruct\\s+(?:\\w+\\s*\\([^)]*\\)*\\s*)?${tag}\\s*\\{`, "g");
  for (const match of source.code.matchAll(pattern)) {
    const open = match.index + match[0].length - 1;
    const close = source.closing(open);
    const end = close < 0 ? -1 : source.code.indexOf(";", close);
    if (end < 0) continue;
    found.push({
      tag,
      start: match.index,
      open,
      close,
      end: end + 1,
      members: membersOf(source, open, close),
    });
  }
  return found;
}

function membersOf(source: SourceText, open: number, close: number): MemberText[] {
  const members: MemberText[] = [];
  let start = open + 1;
  let depth = 0;
  for (let at = open + 1; at < close; at++) {
    const sign = source.code[at] as string;
    if ("([{".includes(sign)) depth++;
    else if (")]}".includes(sign)) depth--;
    else if (sign === "\n" && depth === 0 && /^\s*#[^\n]*$/.test(source.code.slice(start, at))) start = at + 1;
    if (sign !== ";" || depth > 0) continue;
    const first = source.after(start);
    const declaration = source.code.slice(first, at).replaceAll(/\s+/g, " ").trim();
    if (declaration !== "") {
      const { name, isPlain } = nameOf(declaration);
      const isAlways = conditionsAt(source, open, first) === 0;
      members.push({ start: first, end: at + 1, name, declaration, isPlain: isPlain && isAlways });
    }
    start = at + 1;
  }
  return members;
}

/** Preprocessor conditionals that are open at an offset. */
function conditionsAt(source: SourceText, open: number, offset: number): number {
  const lines = source.code.slice(open, offset).match(/^[ \t]*#[ \t]*(?:if|endif)/gm) ?? [];
  return lines.reduce((depth, line) => depth + (line.endsWith("if") && !line.endsWith("endif") ? 1 : -1), 0);
}

/** `unsigned long *flags[4]`: its last word, array sizes and attributes aside. */
function nameOf(declaration: string): Pick<MemberText, "name" | "isPlain"> {
  const text = declaration.replaceAll(/(?:__attribute__\s*\(\(.*?\)\)|\b__\w+(?:\s*\([^()]*\))?)\s*$/g, "").trim();
  const name = /(\w+)\s*(?:\[[^\]]*\]\s*)*$/.exec(text)?.[1];
  const inner = /\(\s*\*\s*(\w+)\s*\)\s*\(/.exec(text)?.[1];
  const isPlain =
    inner === undefined && name !== undefined && !/[,:{}()]/.test(text) && /[\s*]\w+\s*(?:\[|$)/.test(text);
  return { name: inner ?? (/:\s*[\w\s]+$/.test(text) ? (/(\w+)\s*:/.exec(text)?.[1] ?? "") : (name ?? "")), isPlain };
}

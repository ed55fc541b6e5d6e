import type { SourcePlace } from "./diagnostics.ts";

/** A piece of a text, by offsets; `end` is the first one behind it. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** A replacement of a piece of a text. */
export interface TextEdit extends Span {
  readonly text: string;
}

const literalOrComment =
  /\/\*[\s\S]*?(?:\*\/|$)|\/\/(?:\\\r?\n|[^\n])*|"(?:\\[\s\S]|[^"\\\n])*"|'(?:\\[\s\S]|[^'\\\n])*'/g;

/**
 * A C source file in which each byte is one character (latin1), with its comments and the content of its literals blanked out in `code`, so that brackets
 * and words of `code` are those of the program. Offsets are the same in both.
 */
export class SourceText {
  readonly path: string;
  readonly text: string;
  readonly code: string;
  readonly #lines: readonly number[];

  constructor(path: string, text: string) {
    this.path = path;
    this.text = text;
    this.code = text.replaceAll(literalOrComment, (found) => {
      const blank = found.replaceAll(/[^\n]/g, " ");
      const isLiteral = found.startsWith('"') || found.startsWith("'");
      return isLiteral ? `${found[0]}${blank.slice(2)}${found[0]}` : blank;
    });
    const lines = [0];
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines.push(at + 1);
    this.#lines = lines;
  }

  /** Offset of a place that the compiler named. */
  offsetOf({ line, column }: Pick<SourcePlace, "line" | "column">): number {
    return (this.#lines[line - 1] ?? this.text.length) + column - 1;
  }

  /** Line number of an offset, from 1. */
  lineOf(offset: number): number {
    let line = this.#lines.findIndex((start) => start > offset);
    if (line < 0) line = this.#lines.length;
    return line;
  }

  /** True when a place is in a preprocessor line, such as the body of a macro. */
  isDirective(offset: number): boolean {
    let start = this.#lines[this.lineOf(offset) - 1] ?? 0;
    while (start > 1 && this.text[start - 2] === "\\") start = this.#lines[this.lineOf(start - 1) - 1] ?? 0;
    return /^[ \t]*#/.test(this.code.slice(start, start + 200));
  }

  /** Offset of the bracket that closes the one at `open`; -1 when there is none. */
  closing(open: number): number {
    let depth = 0;
    for (let at = open; at < this.code.length; at++) {
      const sign = this.code[at] as string;
      if ("([{".includes(sign)) depth++;
      else if (")]}".includes(sign) && --depth === 0) return at;
    }
    return -1;
  }

  /** Offset of the bracket that opens what the one at `close` closes; -1 when there is none. */
  opening(close: number): number {
    let depth = 0;
    for (let at = close; at >= 0; at--) {
      const sign = this.code[at] as string;
      if (")]}".includes(sign)) depth++;
      else if ("([{".includes(sign) && --depth === 0) return at;
    }
    return -1;
  }

  /** Offset of the nearest character before `offset` that is no white space; -1 at the start. */
  before(offset: number): number {
    let at = offset - 1;
    while (at >= 0 && /\s/.test(this.code[at] as string)) at--;
    return at;
  }

  /** Offset of the first character from `offset` on that is no white space. */
  after(offset: number): number {
    let at = offset;
    while (at < this.code.length && /\s/.test(this.code[at] as string)) at++;
    return at;
  }

  /** The word that ends right before `end`, white space aside; empty when there is none. */
  wordBefore(end: number): string {
    const last = this.before(end);
    return /\w+$/.exec(this.code.slice(0, last + 1).slice(-80))?.[0] ?? "";
  }
}

/**
 * The postfix expression that ends before `end`, as C's grammar reads it: a name or something in parentheses, then calls, indices and members.
 * @returns undefined when what is there is no such expression.
 */
export function postfixBefore(source: SourceText, end: number): Span | undefined {
  const last = source.before(end);
  let start = last + 1;
  for (let at = last; at >= 0; ) {
    const sign = source.code[at] as string;
    if (sign === ")" || sign === "]") {
      const open = source.opening(at);
      if (open < 0) return undefined;
      start = open;
      const previous = source.before(open);
      const continues = previous >= 0 && /[\w)\]]/.test(source.code[previous] as string);
      // `sizeof (x)` and `return (x)` are no calls; `if (a) (b)->c` is a statement of its own.
      if (!continues || (sign === ")" && keywords.has(source.wordBefore(open)))) return { start, end: last + 1 };
      if (source.code[previous] === ")" && isStatementHead(source, previous)) return { start, end: last + 1 };
      at = previous;
      continue;
    }
    if (!/\w/.test(sign)) return undefined;
    const word = source.wordBefore(at + 1);
    if (word === "" || keywords.has(word)) return undefined;
    start = at - word.length + 1;
    const previous = source.before(start);
    const pair = source.code.slice(Math.max(0, previous - 1), previous + 1);
    if (pair === "->") at = source.before(previous - 1);
    else if (pair.endsWith(".") && !pair.endsWith("..")) at = source.before(previous);
    else return { start, end: last + 1 };
  }
  return undefined;
}

const keywords: ReadonlySet<string> = new Set(
  "return sizeof if while for switch case else do goto typeof __typeof__ _Alignof __alignof__".split(" "),
);

/** True for the closing parenthesis of `if (…)`, `while (…)`, `for (…)` or `switch (…)`. */
function isStatementHead(source: SourceText, close: number): boolean {
  return ["if", "while", "for", "switch"].includes(source.wordBefore(source.opening(close)));
}

/** The call around a place. */
export interface EnclosingCall {
  readonly name: string;
  readonly nameStart: number;
  /** Offset of its parentheses. */
  readonly open: number;
  readonly close: number;
  /** Which argument the place is in, from 0. */
  readonly argument: number;
  readonly arguments: readonly Span[];
}

/** The innermost call of a function or macro around an offset; undefined at the top of a statement. */
export function enclosingCall(source: SourceText, offset: number): EnclosingCall | undefined {
  let depth = 0;
  for (let at = offset - 1; at >= 0; at--) {
    const sign = source.code[at] as string;
    if (")]}".includes(sign)) depth++;
    else if ("[{".includes(sign)) {
      if (depth-- === 0) return undefined;
    } else if (sign === ";" && depth === 0) return undefined;
    else if (sign === "(" && depth-- === 0) {
      const name = source.wordBefore(at);
      depth = 0;
      // Parentheses around an expression, and those of sizeof.
      if (name === "" || name === "sizeof") continue;
      if (keywords.has(name)) return undefined;
      const close = source.closing(at);
      if (close < 0) return undefined;
      const spans = splitArguments(source, at, close);
      const argument = spans.findIndex(({ start, end }) => start <= offset && offset <= end);
      const nameStart = source.before(at) - name.length + 1;
      return { name, nameStart, open: at, close, argument, arguments: spans };
    }
  }
  return undefined;
}

/** The arguments between two parentheses. */
function splitArguments(source: SourceText, open: number, close: number): Span[] {
  const spans: Span[] = [];
  let start = open + 1;
  let depth = 0;
  for (let at = open + 1; at <= close; at++) {
    const sign = source.code[at] as string;
    if (at === close || (sign === "," && depth === 0)) {
      spans.push(trimmed(source, { start, end: at }));
      start = at + 1;
    } else if ("([{".includes(sign)) depth++;
    else if (")]}".includes(sign)) depth--;
  }
  return spans;
}

function trimmed(source: SourceText, { start, end }: Span): Span {
  const first = Math.min(source.after(start), end);
  return { start: first, end: Math.max(first, source.before(end) + 1) };
}

/**
 * Makes all edits of a text.
 * @param edits that do not overlap, in any order; of several at one place the first given comes first.
 */
export function applyEdits(text: string, edits: readonly TextEdit[]): string {
  const sorted = [...edits].sort((a, b) => a.start - b.start || a.end - b.end);
  let result = "";
  let at = 0;
  for (const { start, end, text: replacement } of sorted) {
    if (start < at) throw new Error(`edits overlap at offset ${start}`);
    result += text.slice(at, start) + replacement;
    at = end;
  }
  return result + text.slice(at);
}

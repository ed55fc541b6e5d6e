/** One thing at the top level of a C file: a function with its body, or anything else up to its `;`, or a preprocessor line. */
export interface CItem {
  readonly kind: "function" | "directive" | "other";
  /** What stands before the body of a function; all of any other item. */
  readonly head: readonly string[];
  /** Between the braces of a function; else empty. */
  readonly body: readonly string[];
}

/** Comments, a whole preprocessor line with its continuations, strings, characters, words, and any other sign on its own. */
const tokenPattern =
  /\/\*[\s\S]*?(?:\*\/|(?![\s\S]))|\/\/(?:\\\r?\n|[^\n])*|^[ \t]*#(?:\/\*[\s\S]*?(?:\*\/|(?![\s\S]))|\\\r?\n|[^\n])*|"(?:\\[\s\S]|[^"\\])*"|'(?:\\[\s\S]|[^'\\])*'|\w+|[^\s\w]/gm;

/** The tokens of a C file without its comments. A preprocessor line is one token that begins with `#`. */
export function cTokens(text: string): string[] {
  return [...text.matchAll(tokenPattern)].flatMap(([token]) => {
    if (token.startsWith("/*") || token.startsWith("//")) return [];
    const trimmed = token.trimStart();
    return [trimmed.startsWith("#") ? trimmed.replaceAll(/\s+/g, " ").trimEnd() : trimmed];
  });
}

/**
 * Takes a C file apart, all branches of its conditionals.
 * @returns undefined when the brackets do not pair within each branch, so that what belongs to what cannot be told without the preprocessor.
 */
export function cItems(tokens: readonly string[]): readonly CItem[] | undefined {
  const items: CItem[] = [];
  const open: string[] = [];
  const conditionals: number[] = [];
  let head: string[] = [];
  let body: string[] | undefined;
  const end = (kind: CItem["kind"]): void => {
    if (head.length > 0) items.push({ kind, head, body: body ?? [] });
    head = [];
    body = undefined;
  };
  for (const token of tokens) {
    if (token.startsWith("#")) {
      if (!keepsDepth(token, open.length, conditionals)) return undefined;
      if (open.length === 0 && head.length === 0) items.push({ kind: "directive", head: [token], body: [] });
      else (body ?? head).push(token);
      continue;
    }
    const closes = openers[token];
    if (closes !== undefined && open.pop() !== closes) return undefined;
    if (token === "}" && open.length === 0 && body !== undefined) {
      end("function");
      continue;
    }
    if (token === "{" && open.length === 0 && isFunctionHead(head)) body = [];
    else (body ?? head).push(token);
    if (token === "(" || token === "{" || token === "[") open.push(token);
    else if (token === ";" && open.length === 0) end("other");
  }
  end("other");
  return open.length === 0 && conditionals.length === 0 ? items : undefined;
}

const openers: Readonly<Record<string, string>> = { ")": "(", "}": "{", "]": "[" };

/** Brackets that are open at an `#if` have to be the open ones at its `#else` and `#endif`. */
function keepsDepth(directive: string, depth: number, conditionals: number[]): boolean {
  const word = /^# ?(\w*)/.exec(directive)?.[1] ?? "";
  if (/^if/.test(word)) conditionals.push(depth);
  else if (/^el/.test(word)) return conditionals.at(-1) === depth;
  else if (word === "endif") return conditionals.pop() === depth;
  return true;
}

/** In doubt it is none: what follows then counts as a declaration. */
function isFunctionHead(head: readonly string[]): boolean {
  if (!head.includes("(") || head.includes("typedef")) return false;
  let depth = 0;
  for (const token of head) {
    if (token === "(") depth++;
    else if (token === ")") depth--;
    else if (token === "=" && depth === 0) return false;
  }
  return !definesType([...head, "{"]);
}

/** True when a `struct`, `union` or `enum` with members, or a typedef, is among the tokens. */
export function definesType(tokens: readonly string[]): boolean {
  return tokens.some((token, index) => token === "typedef" || (isTypeWord(token) && isDefinition(tokens, index + 1)));
}

/** Tags of structs, unions and enums that are defined among the tokens, and names that a typedef gives to such a definition. */
export function definedNames(tokens: readonly string[]): Set<string> {
  const names = new Set<string>();
  for (const [index, token] of tokens.entries()) {
    if (isTypeWord(token) && isDefinition(tokens, index + 1)) {
      for (let at = index + 1; tokens[at] !== "{"; at++) if (isWord(tokens[at])) names.add(tokens[at] as string);
    } else if (token === "typedef") {
      let depth = 0;
      let isDefined = false;
      for (let at = index + 1; at < tokens.length && (depth > 0 || tokens[at] !== ";"); at++) {
        if (tokens[at] === "{") depth++;
        else if (tokens[at] === "}") depth--;
        else if (depth === 0 && isDefined && isWord(tokens[at])) names.add(tokens[at] as string);
        isDefined ||= depth > 0;
      }
    }
  }
  return names;
}

function isTypeWord(token: string): boolean {
  return token === "struct" || token === "union" || token === "enum";
}

/** Words and attributes in parentheses, then a brace. */
function isDefinition(tokens: readonly string[], start: number): boolean {
  let depth = 0;
  for (let at = start; at < tokens.length; at++) {
    const token = tokens[at] as string;
    if (token === "(") depth++;
    else if (token === ")") depth--;
    else if (depth === 0 && token === "{") return true;
    else if (depth === 0 && !isWord(token) && !token.startsWith("#")) return false;
    if (depth < 0) return false;
  }
  return false;
}

function isWord(token: string | undefined): boolean {
  return token !== undefined && /^\w+$/.test(token);
}

import { diffArrays } from "diff";
import { type CItem, cItems, cTokens, definedNames } from "./c-tokens.ts";

/**
 * Names that a changed header adds, when it does nothing else: whole functions, prototypes, `extern` variables, macros, and definitions of structs,
 * unions and enums come in, and every other line stays. A unit that was compiled without these names cannot use them, provided that they are new to
 * the whole tree, so such a header changes only units that are changed themselves.
 * @returns undefined when something else changes too, or in doubt. An empty set: only comments and declarations of types without their members.
 */
export function namesOnlyAdded(original: string, patched: string): ReadonlySet<string> | undefined {
  const before = cItems(cTokens(original));
  const after = cItems(cTokens(patched));
  if (before === undefined || after === undefined) return undefined;
  // Which of several equal lines is the added one is open; seen from the end it may be another.
  return (
    namesOfRuns(addedRuns(before, after)) ?? namesOfRuns(addedRuns(reversed(before), reversed(after)).map(reversed))
  );
}

function reversed(items: readonly CItem[]): CItem[] {
  return [...items].reverse();
}

/** Items that were added, in runs of neighbours; items that were removed make it fail with an empty run. */
function addedRuns(before: readonly CItem[], after: readonly CItem[]): CItem[][] {
  const runs: CItem[][] = [];
  let at = 0;
  for (const part of diffArrays(before.map(keyOf), after.map(keyOf))) {
    if (part.removed) {
      runs.push([]);
      continue;
    }
    if (part.added) runs.push(after.slice(at, at + part.value.length));
    at += part.value.length;
  }
  return runs;
}

function namesOfRuns(runs: readonly (readonly CItem[])[]): Set<string> | undefined {
  const names = new Set<string>();
  for (const run of runs) {
    if (run.length === 0 || !isBalanced(run)) return undefined;
    for (const item of run) {
      const added = namesOf(item);
      if (added === undefined) return undefined;
      for (const name of added) names.add(name);
    }
  }
  return names;
}

function keyOf({ kind, head, body }: CItem): string {
  return `${kind} ${head.join(" ")} { ${body.join(" ")}`;
}

/** Conditionals that begin in the run also end in it, so that it does not put other lines under a condition. */
function isBalanced(run: readonly CItem[]): boolean {
  let depth = 0;
  for (const { kind, head } of run) {
    if (kind !== "directive") continue;
    if (/^# ?if/.test(head[0] as string)) depth++;
    else if (/^# ?endif/.test(head[0] as string)) depth--;
    else if (/^# ?el/.test(head[0] as string) && depth === 0) return false;
    if (depth < 0) return false;
  }
  return depth === 0;
}

/** @returns undefined for an item that may do more than define names of its own. */
function namesOf(item: CItem): readonly string[] | undefined {
  const { kind, head } = item;
  if (kind === "directive") return macroNames(head[0] as string);
  if (head.some((token) => token.startsWith("#"))) return undefined;
  if (kind === "function") return single(declaredFunction(head));
  if (isWord(head[1]) && (head[0] === "struct" || head[0] === "union") && head[2] === ";") return [];
  if (["struct", "union", "enum"].includes(head[0] as string)) return typeNames(head);
  if (head.includes("=") || head.includes("{")) return undefined;
  return single(head.includes("(") ? declaredFunction(head.slice(0, -1)) : externVariable(head));
}

function single(name: string | undefined): readonly string[] | undefined {
  return name === undefined ? undefined : [name];
}

function macroNames(directive: string): readonly string[] | undefined {
  if (/^# ?(if|ifdef|ifndef|elif|else|endif)\b/.test(directive)) return [];
  return single(/^# ?define (\w+)/.exec(directive)?.[1]);
}

/** `static inline int name(…)`, with nothing behind the parentheses but attributes: what stands before is a type, not a macro's call. */
function declaredFunction(head: readonly string[]): string | undefined {
  const open = head.indexOf("(");
  const name = head[open - 1];
  if (open < 2 || !isWord(name)) return undefined;
  if (!head.slice(0, open - 1).every((token) => isWord(token) || token === "*")) return undefined;
  return isAttributes(head.slice(closing(head, open) + 1)) ? name : undefined;
}

/** `extern struct type name;` or an array, one at a time. */
function externVariable(head: readonly string[]): string | undefined {
  if (head[0] !== "extern" || head.includes(",")) return undefined;
  const end = head.findIndex((token) => token === ";" || token === "[");
  const name = head[end - 1];
  return end >= 3 && isWord(name) && !(name as string).startsWith("__") ? name : undefined;
}

/** A definition with members and nothing behind it but attributes: its tag, those of types within, and the values of an enum. */
function typeNames(head: readonly string[]): readonly string[] | undefined {
  const open = head.indexOf("{");
  const named = head[0] === "enum" ? open === 1 || open === 2 : open === 2;
  if (!named || head.at(-1) !== ";" || !isAttributes(head.slice(closing(head, open) + 1, -1))) return undefined;
  const body = head.slice(open + 1, closing(head, open));
  if (head[0] !== "enum") {
    // Values of an enum within a struct are visible outside of it.
    return body.includes("enum") ? undefined : [...definedNames(head)];
  }
  const values = body.filter((token, index) => isWord(token) && (index === 0 || body[index - 1] === ","));
  return [...definedNames(head), ...values];
}

/** Position of the bracket that closes the one at `open`. */
function closing(tokens: readonly string[], open: number): number {
  let depth = 0;
  for (let at = open; at < tokens.length; at++) {
    if (["(", "{", "["].includes(tokens[at] as string)) depth++;
    else if ([")", "}", "]"].includes(tokens[at] as string) && --depth === 0) return at;
  }
  return tokens.length;
}

/** `__must_check`, `__printf ( 1 , 2 )` and the like. */
function isAttributes(tokens: readonly string[]): boolean {
  for (let at = 0; at < tokens.length; at++) {
    if (!(tokens[at] as string).startsWith("__")) return false;
    if (tokens[at + 1] === "(") at = closing(tokens, at + 1);
  }
  return true;
}

function isWord(token: string | undefined): boolean {
  return token !== undefined && /^[A-Za-z_]\w*$/.test(token);
}

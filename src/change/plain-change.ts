import { cTokens } from "./c-tokens.ts";
import type { ChangedFile } from "./change-set.ts";

/**
 * Those changed files that cannot be read without seeing the difference: text outside of all conditionals changes, and every preprocessor line stays. The
 * conditional that guards a header against being read twice does not count, since the first reading passes it.
 * @returns paths relative to the tree.
 */
export function seenByEveryReader(files: readonly ChangedFile[]): ReadonlySet<string> {
  return new Set(
    files.flatMap(({ path, original, patched }) =>
      original !== null && patched !== null && isPlain(cTokens(textOf(original)), cTokens(textOf(patched)))
        ? [path]
        : [],
    ),
  );
}

function isPlain(before: readonly string[], after: readonly string[]): boolean {
  return (
    sameTokens(before.filter(isDirective), after.filter(isDirective)) &&
    !sameTokens(unconditional(before), unconditional(after))
  );
}

/** The tokens that are read whatever the configuration is; directives are not among them. */
function unconditional(tokens: readonly string[]): string[] {
  const inner = isGuarded(tokens) ? tokens.slice(1, -1) : tokens;
  let depth = 0;
  return inner.filter((token) => {
    if (!isDirective(token)) return depth === 0;
    if (/^# ?if/.test(token)) depth++;
    else if (/^# ?endif\b/.test(token)) depth--;
    return false;
  });
}

/** `#ifndef _H`, `#define _H`, and the `#endif` of that conditional at the very end. */
function isGuarded(tokens: readonly string[]): boolean {
  const name = /^# ?ifndef (\w+)$/.exec(tokens[0] ?? "")?.[1];
  if (name === undefined || !new RegExp(`^# ?define ${name}\\b`).test(tokens[1] ?? "")) return false;
  let depth = 0;
  for (const [index, token] of tokens.entries()) {
    if (/^# ?if/.test(token)) depth++;
    else if (/^# ?el/.test(token) && depth === 1) return false;
    else if (/^# ?endif\b/.test(token) && --depth === 0) return index === tokens.length - 1;
  }
  return false;
}

function isDirective(token: string): boolean {
  return token.startsWith("#");
}

function sameTokens(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((token, index) => token === other[index]);
}

function textOf(content: Uint8Array): string {
  return Buffer.from(content).toString("latin1");
}

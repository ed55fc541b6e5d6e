import { cTokens } from "./c-tokens.ts";
import type { ChangedFile } from "./change-set.ts";

/**
 * Tags of structs and unions that the changed C files use in another way than to declare things that hold one: behind a pointer, in a cast, in
 * `sizeof(struct tag)` or as an argument of a macro. Debug information does not tell about casts and sizes.
 */
export function usedBeyondDeclarations(
  files: readonly Pick<ChangedFile, "path" | "original" | "patched">[],
): Set<string> {
  const used = new Set<string>();
  for (const { path, original, patched } of files) {
    if (!/\.[ch]$/.test(path)) continue;
    for (const content of [original, patched])
      if (content !== null) collect(cTokens(Buffer.from(content).toString("latin1")), used);
  }
  return used;
}

function collect(tokens: readonly string[], used: Set<string>): void {
  for (const [index, token] of tokens.entries()) {
    if (token !== "struct" && token !== "union") continue;
    const tag = tokens[index + 1] ?? "";
    const next = tokens[index + 2] ?? "";
    if (!/^\w+$/.test(tag)) continue;
    if (next === "{" ? declaratorsBehind(tokens, index + 2).includes("*") : !/^\w+$/.test(next)) used.add(tag);
  }
}

/** What is declared right behind a definition: `*c, d` of `struct ctx { … } *c, d;`. */
function declaratorsBehind(tokens: readonly string[], start: number): readonly string[] {
  let depth = 0;
  for (let at = start; at < tokens.length; at++) {
    if (tokens[at] === "{") depth++;
    else if (tokens[at] === "}" && --depth === 0) {
      const end = tokens.indexOf(";", at);
      const stop = tokens.indexOf("=", at);
      return tokens.slice(at + 1, stop >= 0 && stop < end ? stop : end);
    }
  }
  return [];
}

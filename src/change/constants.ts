import type { ChangedFile } from "./change-set.ts";

/** A macro that has another value with the change. */
export interface ChangedConstant {
  readonly name: string;
  readonly path: string;
  readonly before: string;
  readonly after: string;
}

/** Macros without arguments that had a value and have another one. */
export function changedConstants(
  files: readonly Pick<ChangedFile, "path" | "original" | "patched">[],
): ChangedConstant[] {
  return files.flatMap(({ path, original, patched }) => {
    if (original === null || patched === null || !/\.[ch]$/.test(path)) return [];
    const before = constantsOf(original);
    return [...constantsOf(patched)].flatMap(([name, after]) => {
      const old = before.get(name);
      return old === undefined || old === after ? [] : [{ name, path, before: old, after }];
    });
  });
}

/** Values as they are written, without spaces and comments; a macro that is defined twice has none. */
export function constantsOf(content: Uint8Array): Map<string, string> {
  const text = Buffer.from(content)
    .toString("latin1")
    .replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, " ");
  const found = new Map<string, string>();
  const twice = new Set<string>();
  for (const [, name, value] of text.matchAll(/^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(.+)$/gm)) {
    const plain = (value as string).replace(/\s+/g, "");
    if (!/\d/.test(plain)) continue;
    if (found.has(name as string)) twice.add(name as string);
    found.set(name as string, plain);
  }
  for (const name of twice) found.delete(name);
  return found;
}

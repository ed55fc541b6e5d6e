import type { ChangedFile } from "./change-set.ts";

/** A macro that gets the value which another one had: an object that was marked with that one looks as if it were marked with this. */
export interface ExchangedConstant {
  readonly name: string;
  readonly path: string;
  readonly old: string;
  readonly value: string;
  /** The macro that had the value, and has another one now. */
  readonly from: string;
}

/**
 * Macros without arguments that exchange values with each other in one file. What a kernel stores of them it stores as numbers, which nothing in its type
 * information tells apart, so only the text of the change shows it.
 */
export function exchangedConstants(
  files: readonly Pick<ChangedFile, "path" | "original" | "patched">[],
): ExchangedConstant[] {
  return files.flatMap(({ path, original, patched }) => {
    if (original === null || patched === null || !/\.[ch]$/.test(path)) return [];
    const [before, after] = [constantsOf(original), constantsOf(patched)];
    const changed = [...after].flatMap(([name, value]) => {
      const old = before.get(name);
      return old === undefined || old === value ? [] : [{ name, old, value }];
    });
    return changed.flatMap(({ name, old, value }) => {
      // Of plain numbers only an exchange is told: limits and times may have each other's values by chance.
      const from = changed.find(
        (other) => other.name !== name && other.old === value && (other.value === old || isFlag(value)),
      );
      return from === undefined ? [] : [{ name, path, old, value, from: from.name }];
    });
  });
}

function isFlag(value: string): boolean {
  return /<<|BIT|0x/i.test(value);
}

/** Values as they are written, without spaces and comments; a macro that is defined twice has none. */
function constantsOf(content: Uint8Array): Map<string, string> {
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

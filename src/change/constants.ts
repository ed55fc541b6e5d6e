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

/** Numbers of the enumerators of all enums; those behind a value that is no plain number have none. */
export function enumeratorsOf(content: Uint8Array): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, list] of withoutComments(content).matchAll(/\benum\b[^{};]*\{([^{}]*)\}/g)) {
    let next: number | undefined = 0;
    for (const entry of (list as string).split(",")) {
      const [, name, value] = /^\s*([A-Za-z_]\w*)\s*(?:=\s*(.+?))?\s*$/s.exec(entry) ?? [];
      if (name === undefined) continue;
      const given: number | undefined = value === undefined ? next : plainNumber(value);
      if (given !== undefined) found.set(name, `${given}`);
      next = given === undefined ? undefined : given + 1;
    }
  }
  return found;
}

function plainNumber(text: string): number | undefined {
  return /^-?(0x[\da-f]+|\d+)$/i.test(text) ? Number(text) : undefined;
}

function withoutComments(content: Uint8Array): string {
  return Buffer.from(content)
    .toString("latin1")
    .replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, " ");
}

/** Values as they are written, without spaces and comments; a macro that is defined twice has none. */
export function constantsOf(content: Uint8Array): Map<string, string> {
  const text = withoutComments(content);
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

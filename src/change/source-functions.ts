import type { ChangedFile } from "./change-set.ts";

/** A function of a C file, found by the kernel's way of writing: its head and both braces of its body begin in the first column. */
export interface SourceFunction {
  readonly name: string;
  /** Numbers of the first line of the head and of the closing brace, from 1. */
  readonly first: number;
  readonly last: number;
  readonly text: string;
}

/** Words before a parenthesis that are not the name of the function. */
const attributes = /^(__attribute__|__printf|__scanf|__section|__aligned|__acquires|__releases|if|while|for|switch)$/;

/**
 * Finds functions for messages: one that is written in another way, or made by a macro, is left out.
 * @param text of a C file or header.
 */
export function sourceFunctions(text: string): SourceFunction[] {
  const lines = text.split("\n");
  const found: SourceFunction[] = [];
  let behind = 0;
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as string;
    const opensAtOnce = /^[A-Za-z_].*\)[^;]*\{\s*$/.test(line);
    if (!opensAtOnce && line.trimEnd() !== "{") continue;
    let first = opensAtOnce ? at : at - 1;
    while (first > behind && !/^\s*$|^[}#]|[;}]\s*$|\*\/\s*$/.test(lines[first - 1] as string)) first--;
    let last = at + 1;
    while (last < lines.length && !(lines[last] as string).startsWith("}")) last++;
    if (first < behind || last >= lines.length) continue;
    const head = lines.slice(first, at + 1).join(" ");
    const name = [...head.matchAll(/(\w+)\s*\(/g)]
      .map(([, word]) => word as string)
      .find((word) => !attributes.test(word));
    if (name !== undefined && (/[a-z]/.test(name) || isTyped(head, name))) {
      found.push({ name, first: first + 1, last: last + 1, text: lines.slice(first, last + 1).join("\n") });
    }
    behind = last + 1;
    at = last;
  }
  return found;
}

/** A macro makes what has a name of capitals alone, unless a type stands before it. */
function isTyped(head: string, name: string): boolean {
  return new RegExp(`(\\*|\\b(void|int|long|bool|char|unsigned|[su](8|16|32|64)|size_t)\\s)\\s*${name}\\s*\\(`).test(
    head,
  );
}

/** The functions of a file before the change whose text the change touches. */
export function touchedFunctions({ original, patched }: Pick<ChangedFile, "original" | "patched">): SourceFunction[] {
  if (original === null || patched === null) return [];
  const kept = new Set(sourceFunctions(textOf(patched)).map(({ text }) => text));
  return sourceFunctions(textOf(original)).filter(({ text }) => !kept.has(text));
}

function textOf(content: Uint8Array): string {
  return Buffer.from(content).toString("latin1");
}

import { diffArrays } from "diff";
import type { ChangedFile } from "./change-set.ts";
import { type SourceFunction, sourceFunctions } from "./source-functions.ts";

/** Words of locks, and of what is built on them. */
const lockWord =
  /lock|mutex|\brcu|_rcu|\bsem\b|_sem\b|semaphore|\b(down|up)(_|\b)|guard|\bCLASS\(|_(acquire|release|enter|exit|get|put)\b/i;

/** Words that lead past other lines. */
const turn = /\b(return|goto|break|continue|if|else|while|for|switch|case|default)\b|\?|^\s*\w+:/;

/**
 * Whether a change can make a difference to which locks are held where: it changes a line that speaks of locks, or the ways through a function that does.
 * The compiler arranges the same ways otherwise for other reasons too.
 */
export function touchesLocking(files: readonly ChangedFile[]): boolean {
  return files.some(({ path, original, patched }) => {
    if (!/\.[ch]$/.test(path)) return false;
    const [before, after] = [linesOf(original), linesOf(patched)];
    const functions = { before: sourceFunctions(before.join("\n")), after: sourceFunctions(after.join("\n")) };
    let [old, fresh] = [1, 1];
    for (const { added, removed, value } of diffArrays(before, after)) {
      const side = added ? functions.after : functions.before;
      if ((added || removed) && value.some((line, at) => matters(line, (added ? fresh : old) + at, side))) return true;
      if (!added) old += value.length;
      if (!removed) fresh += value.length;
    }
    return false;
  });
}

/** @param number of the line, from 1. */
function matters(line: string, number: number, functions: readonly SourceFunction[]): boolean {
  if (lockWord.test(line)) return true;
  if (!turn.test(line)) return false;
  const around = functions.find(({ first, last }) => number >= first && number <= last);
  return around === undefined ? line.trimEnd().endsWith("\\") : lockWord.test(around.text);
}

function linesOf(content: Uint8Array | null): string[] {
  return content === null ? [] : Buffer.from(content).toString("latin1").split("\n");
}

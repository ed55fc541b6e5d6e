import { diffArrays } from "diff";
import type { ChangedFile } from "./change-set.ts";

/**
 * Says of a line number whether it means the same line without the patch and with it, in each file that it changes ({@link keepLineNumbers} numbers
 * the patched ones).
 */
export function sameLines(
  files: readonly Pick<ChangedFile, "path" | "original" | "patched">[],
): (line: number) => boolean {
  let unsure: Set<number> | undefined;
  return (line) => {
    unsure ??= new Set(
      files.flatMap(({ path, original, patched }) =>
        original === null || patched === null || !/\.[chS]$/.test(path) ? [] : unsureLines(original, patched),
      ),
    );
    return !unsure.has(line);
  };
}

/** Numbers of lines that the patch takes out, and those that its own lines get: they go on from the line before. */
function unsureLines(original: Uint8Array, patched: Uint8Array): number[] {
  const [before, after] = [original, patched].map((content) => Buffer.from(content).toString("latin1").split("\n"));
  const unsure: number[] = [];
  let [oldLine, number] = [1, 1];
  for (const { added, removed, value } of diffArrays(before as string[], after as string[])) {
    for (let at = 0; at < value.length; at++) {
      if (added) unsure.push(number++);
      else if (removed) unsure.push(oldLine++);
      else number = ++oldLine;
    }
  }
  return unsure;
}

import { ExitCode, KmendError } from "../support/errors.ts";
import type { DiffResult } from "./compare-objects.ts";
import { type DiffKnowledge, type DiffOptions, pairDiff } from "./diff-objects.ts";

/** Two builds of one unit, and where the extract goes. */
export type BatchPair = Pick<DiffOptions, "original" | "patched" | "output">;

/** What came of one pair: a failure of one does not keep the others from being compared. */
export type BatchOutcome =
  | { readonly pair: BatchPair; readonly result: DiffResult }
  | { readonly pair: BatchPair; readonly error: unknown };

/** So many pairs are read while one is compared. */
const readAhead = 4;

/**
 * Reads a list of pairs: lines of `ORIGINAL PATCHED [OUT]`, separated by blanks; empty lines and those that begin with `#` say nothing.
 * @throws KmendError `USAGE` for any other line.
 */
export function parseBatch(text: string, path: string): BatchPair[] {
  return text.split("\n").flatMap((line, at) => {
    const words = line.trim().split(/\s+/);
    const [original, patched, output, ...more] = words;
    if (original === undefined || original === "" || original.startsWith("#")) return [];
    if (patched !== undefined && more.length === 0) return [{ original, patched, output }];
    throw new KmendError({
      code: "USAGE",
      message: `line ${at + 1} of ${path} has ${words.length} words`,
      where: `${path}:${at + 1}`,
      hint: "give ORIGINAL PATCHED [OUT] in each line, in paths without blanks",
      exitCode: ExitCode.usage,
    });
  });
}

/** Compares pairs in their order; the results come in it too. */
export async function* diffBatch(pairs: readonly BatchPair[], known: DiffKnowledge): AsyncGenerator<BatchOutcome> {
  const diff = await pairDiff(known);
  const begin = (pair: BatchPair): Promise<BatchOutcome> =>
    diff(pair).then(
      (result) => ({ pair, result }),
      (error: unknown) => ({ pair, error }),
    );
  const running = pairs.slice(0, readAhead).map(begin);
  for (let next = readAhead; running.length > 0; next++) {
    const outcome = await (running.shift() as Promise<BatchOutcome>);
    const pair = pairs[next];
    if (pair !== undefined) running.push(begin(pair));
    yield outcome;
  }
}

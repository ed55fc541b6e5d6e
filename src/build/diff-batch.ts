import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { ExitCode, KmendError } from "../support/errors.ts";
import { bundledProgram } from "../support/own-files.ts";
import type { DiffResult } from "./compare-objects.ts";
import { type DiffKnowledge, pairDiff } from "./diff-objects.ts";
import { type BatchPair, type DiffMessage, type DiffWork, errorOf, PairQueue } from "./pair-queue.ts";

/** What came of one pair: a failure of one does not keep the others from being compared. */
export type BatchOutcome =
  | { readonly pair: BatchPair; readonly result: DiffResult }
  | { readonly pair: BatchPair; readonly error: unknown };

/** So many pairs of this thread are read while one is compared. */
const lanes = 3;

/** A thread takes some tenths of a second to load what it needs; with fewer pairs, they are compared by then. */
const pairsForThread = 16;

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

/** Compares pairs on all processors; the results come in the order of the pairs. */
export async function* diffBatch(pairs: readonly BatchPair[], known: DiffKnowledge): AsyncGenerator<BatchOutcome> {
  const queue = new PairQueue(pairs.length);
  const outcomes = new Outcomes(pairs);
  const program = bundledProgram("diff-worker");
  const wanted = Math.min(availableParallelism() - 1, Math.floor(pairs.length / pairsForThread));
  const threads =
    program === undefined || wanted <= 0 ? [] : startThreads(program, wanted, { pairs, known, memory: queue.memory });
  const work = threads.map((thread) => listen(thread, outcomes));
  try {
    const diff = await pairDiff(known);
    const compare = async (number: number): Promise<void> => {
      const pair = pairs[number] as BatchPair;
      await diff(pair).then(
        (result) => outcomes.add(number, { pair, result }),
        (error: unknown) => outcomes.add(number, { pair, error }),
      );
    };
    const here = Array.from({ length: Math.min(lanes, pairs.length) }, async () => {
      for (let number = queue.take(); number !== undefined; number = queue.take()) await compare(number);
    });
    // What a thread took that came to grief is done here.
    const all = Promise.all([...here, ...work]).then(async () => {
      for (const number of outcomes.missing()) await compare(number);
    });
    all.catch((error: unknown) => outcomes.fail(error));
    for (const number of pairs.keys()) yield await outcomes.of(number);
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
}

function startThreads(program: URL, count: number, workerData: DiffWork): Worker[] {
  return Array.from({ length: count }, () => new Worker(program, { workerData }));
}

/** Resolves when the thread has ended, for whatever reason. */
function listen(thread: Worker, outcomes: Outcomes): Promise<void> {
  thread.on("message", (message: DiffMessage) => {
    const { number } = message;
    const pair = outcomes.pairs[number] as BatchPair;
    outcomes.add(
      number,
      "result" in message ? { pair, result: message.result } : { pair, error: errorOf(message.failure) },
    );
  });
  return new Promise((resolve) => {
    thread.on("error", () => resolve());
    thread.on("exit", () => resolve());
  });
}

/** What is known of the pairs, in whatever order it comes. */
class Outcomes {
  readonly pairs: readonly BatchPair[];
  readonly #known = new Map<number, BatchOutcome>();
  readonly #waiting = new Map<number, (outcome: BatchOutcome | Promise<never>) => void>();
  #failure: Promise<never> | undefined;

  constructor(pairs: readonly BatchPair[]) {
    this.pairs = pairs;
  }

  add(number: number, outcome: BatchOutcome): void {
    this.#known.set(number, outcome);
    this.#waiting.get(number)?.(outcome);
  }

  fail(error: unknown): void {
    this.#failure = Promise.reject(error);
    this.#failure.catch(() => {});
    for (const resolve of this.#waiting.values()) resolve(this.#failure);
  }

  /** Numbers of pairs of which nothing is known. */
  missing(): number[] {
    return [...this.pairs.keys()].filter((number) => !this.#known.has(number));
  }

  async of(number: number): Promise<BatchOutcome> {
    const known = this.#known.get(number) ?? this.#failure;
    return known ?? new Promise((resolve) => this.#waiting.set(number, resolve));
  }
}

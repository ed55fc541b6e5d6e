import { KmendError } from "../support/errors.ts";
import type { DiffResult } from "./compare-objects.ts";
import type { DiffKnowledge, DiffOptions } from "./diff-objects.ts";

/** Two builds of one unit, and where the extract goes. */
export type BatchPair = Pick<DiffOptions, "original" | "patched" | "output">;

/** What a worker thread is given. */
export interface DiffWork {
  readonly pairs: readonly BatchPair[];
  readonly known: DiffKnowledge;
  /** Of the {@link PairQueue}. */
  readonly memory: SharedArrayBuffer;
}

/** What a worker thread posts for each pair that it took; classes do not survive the way. */
export type DiffMessage =
  | { readonly number: number; readonly result: DiffResult }
  | { readonly number: number; readonly failure: Failure };

/** An error as a message. */
type Failure =
  | Pick<KmendError, "code" | "message" | "where" | "why" | "hint" | "exitCode">
  | { readonly message: string };

/** The pairs that nobody has taken yet. Several threads take from it, without a word to each other. */
export class PairQueue {
  readonly memory: SharedArrayBuffer;
  readonly #count: number;
  readonly #next: Int32Array;

  constructor(count: number, memory: SharedArrayBuffer = new SharedArrayBuffer(4)) {
    this.memory = memory;
    this.#count = count;
    this.#next = new Int32Array(memory);
  }

  /** The number of a pair; undefined when all are taken. */
  take(): number | undefined {
    const number = Atomics.add(this.#next, 0, 1);
    return number < this.#count ? number : undefined;
  }
}

/** The error, for a message. */
export function failureOf(error: unknown): Failure {
  if (!(error instanceof KmendError)) return { message: error instanceof Error ? error.message : String(error) };
  const { code, message, where, why, hint, exitCode } = error;
  return { code, message, where, why, hint, exitCode };
}

/** The error that a message tells of. */
export function errorOf(failure: Failure): Error {
  return "code" in failure ? new KmendError(failure) : new Error(failure.message);
}

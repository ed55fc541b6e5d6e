import { KmendError } from "../src/support/errors.ts";

/** One thing that is measured. Benchmarks print tables and never judge times. */
export interface Benchmark {
  readonly title: string;
  readonly run: (options: BenchmarkOptions) => Promise<void>;
}

export interface BenchmarkOptions {
  /** The checkout. */
  readonly root: string;
  /** Words of the command line that begin with a dash. */
  readonly flags: readonly string[];
  /** Everything once, over as little as it can: shows that it works, and measures nothing. */
  readonly short: boolean;
}

/** The middle value; of an even number the lower one. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[(sorted.length - 1) >> 1] ?? Number.NaN;
}

/** Milliseconds as seconds, for a table. */
export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

/** A process of a benchmark ended with a failure; what it printed tells why. */
export function childFailed(what: string, code: number | null): KmendError {
  return new KmendError({
    code: "BENCHMARK_FAILED",
    message: `${what} ended with ${code ?? "a signal"}`,
    hint: "its own message is above",
  });
}

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

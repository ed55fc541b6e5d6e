import { execFileSync, spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { formatTable } from "../src/cli/terminal/table.ts";
import { cacheRoot } from "../src/support/cache.ts";
import { type Benchmark, type BenchmarkOptions, childFailed, median } from "./benchmark.ts";
import { makePairs } from "./diff/make-pairs.ts";
import { manySections } from "./diff/many-sections.ts";
import type { PairsMeasured } from "./diff/measure-pairs.ts";

const wantedPairs = 300;
const coldRuns = 5;
/** Pairs of a list, as many as are given together. */
const inBatch = 55;
const growth: readonly number[] = [7_500, 15_000, 30_000, 60_000];

/** `diff` alone, over many pairs of real units in one process, from a cold start, and with the size of the object. */
export const diffBenchmark: Benchmark = {
  title: `both builds of at least ${wantedPairs} units of the newest stock kernel, with debug information, one small edit each`,
  run,
};

async function run({ root, flags, short }: BenchmarkOptions): Promise<void> {
  const wanted = Number(flags.find((flag) => flag.startsWith("--pairs="))?.slice(8) ?? (short ? 2 : wantedPairs));
  const folder = await makePairs(join(cacheRoot(), "bench"), wanted, availableParallelism());
  const names = (await pairsIn(folder)).slice(0, short ? wanted : undefined);
  const all = await measured(root, folder, names);
  console.log("One process, one pair after the other:\n");
  const pairs: string[][] = [["pairs", "objects/s", "median", "95 %", "slowest", "peak memory", "outcomes"]];
  const times = all.pairs.map(({ milliseconds }) => milliseconds);
  const sorted = [...times].sort((a, b) => a - b);
  const slowest = all.pairs.find(({ milliseconds }) => milliseconds === sorted.at(-1));
  const total = times.reduce((sum, time) => sum + time, 0);
  const outcomes = new Map<string, number>();
  for (const { outcome } of all.pairs) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  pairs.push([
    `${all.pairs.length}`,
    ((2000 * all.pairs.length) / total).toFixed(0),
    milliseconds(median(times)),
    milliseconds(sorted[Math.floor(sorted.length * 0.95)] ?? Number.NaN),
    `${milliseconds(sorted.at(-1) ?? Number.NaN)} (${slowest?.name})`,
    `${all.peakMemory} MiB`,
    [...outcomes].map(([outcome, count]) => `${count} ${outcome}`).join(", "),
  ]);
  for (const line of formatTable(pairs)) console.log(line);

  const typical = all.pairs.find(({ milliseconds }) => milliseconds === median(times));
  const cold: number[] = [];
  for (let count = 0; count < (short ? 1 : coldRuns); count++) cold.push(coldStart(root, folder, typical?.name ?? ""));
  console.log(
    `\nOne typical pair (${typical?.name}, ${Math.round((typical?.bytes ?? 0) / 1024)} KiB) from a cold start:\n`,
  );
  console.log(`median of ${cold.length}: ${milliseconds(median(cold))}, start of the program included`);

  console.log(`\nA list of ${inBatch} pairs in one process (kmend diff --batch), and the start of the program:\n`);
  for (const line of formatTable(await batchTimes(root, folder, names.slice(0, inBatch), short ? 1 : coldRuns)))
    console.log(line);

  console.log("\nGrowth with the size of the object:\n");
  const sizes: string[][] = [["sections", "object", "time", "per section", "peak memory"]];
  const work = await mkdtemp(join(tmpdir(), "kmend-bench-"));
  try {
    for (const sections of short ? growth.slice(0, 1) : growth) {
      const one = join(work, `${sections}`);
      await mkdir(one);
      await writeFile(join(one, "many.a.o"), manySections(sections, 1));
      await writeFile(join(one, "many.b.o"), manySections(sections, 2));
      const { pairs: single, peakMemory } = await measured(root, one, ["many"]);
      const { milliseconds: time, bytes } = single[0] as PairsMeasured["pairs"][number];
      const size = `${(bytes / 2 ** 20).toFixed(1)} MiB`;
      sizes.push([
        `${sections}`,
        size,
        milliseconds(time),
        `${((1000 * time) / sections).toFixed(1)} µs`,
        `${peakMemory} MiB`,
      ]);
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  for (const line of formatTable(sizes)) console.log(line);
}

/** Measures pairs of a folder in a process of their own. */
async function measured(root: string, folder: string, names: readonly string[]): Promise<PairsMeasured> {
  const child = spawn(process.execPath, [join(root, "dist", "bench", "run.js"), "measure-pairs", folder, ...names], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => (text += part));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  if (code !== 0) throw childFailed(`measuring ${folder}`, code);
  return JSON.parse(text) as PairsMeasured;
}

/** Wall time in milliseconds of `kmend diff`. */
function coldStart(root: string, folder: string, name: string): number {
  const words = ["diff", join(folder, `${name}.a.o`), join(folder, `${name}.b.o`), "--json"];
  return timed(join(root, "bin", "kmend"), words);
}

/** Wall time in milliseconds of a program. */
function timed(program: string, words: readonly string[]): number {
  const started = performance.now();
  try {
    execFileSync(program, words, { stdio: ["ignore", "ignore", "ignore"] });
  } catch {
    // A refused change ends with another exit code; the time is the same.
  }
  return performance.now() - started;
}

/** Wall times of a list of pairs, of an empty list, and of what is between them. */
async function batchTimes(root: string, folder: string, names: readonly string[], runs: number): Promise<string[][]> {
  const work = await mkdtemp(join(tmpdir(), "kmend-bench-"));
  try {
    const [full, empty] = [join(work, "pairs"), join(work, "none")];
    const lines = names.map((name) => `${join(folder, name)}.a.o ${join(folder, name)}.b.o ${join(work, name)}.o\n`);
    await Promise.all([writeFile(full, lines.join("")), writeFile(empty, "")]);
    const timeOf = (list: string): number =>
      median(Array.from({ length: runs }, () => timed(join(root, "bin", "kmend"), ["diff", "--batch", list])));
    const [all, start] = [timeOf(full), timeOf(empty)];
    return [
      ["pairs", "all of it", "start", "after start", "each"],
      [
        `${names.length}`,
        ...[all, start, all - start, (all - start) / Math.max(1, names.length)].map((time) => milliseconds(time)),
      ],
    ];
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function milliseconds(time: number): string {
  return `${time.toFixed(time < 10 ? 1 : 0)} ms`;
}

/** Names of the pairs in a folder. */
export async function pairsIn(folder: string): Promise<string[]> {
  return (await readdir(folder))
    .filter((name) => name.endsWith(".b.o"))
    .map((name) => name.slice(0, -4))
    .sort();
}

/** Both objects of a pair. */
export async function readPair(folder: string, name: string): Promise<[Uint8Array, Uint8Array]> {
  return [await readFile(join(folder, `${name}.a.o`)), await readFile(join(folder, `${name}.b.o`))];
}

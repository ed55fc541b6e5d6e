import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { formatTable } from "../src/cli/terminal/table.ts";
import { findTargetKernel } from "../src/kernel/find.ts";
import { cacheRoot } from "../src/support/cache.ts";
import { type Benchmark, type BenchmarkOptions, childFailed, median } from "./benchmark.ts";
import { makePairs } from "./diff/make-pairs.ts";
import { pairsIn } from "./diff.ts";
import type { ImageMeasured, MatchMeasured } from "./kernel/measure-kernel.ts";

const usualRuns = 5;
const wantedPairs = 300;

/** Reading the kernel image, and proving units against it. */
export const kernelBenchmark: Benchmark = {
  title: "symbols, types and sections of the newest stock kernel's image, and the match of its units",
  run,
};

async function run({ root, flags, short }: BenchmarkOptions): Promise<void> {
  const runs = short ? 1 : usualRuns;
  const kernel = await findTargetKernel({ kernel: "newest" });
  const folder = await mkdtemp(join(tmpdir(), "kmend-bench-"));
  const measure = async <Value>(...words: readonly string[]): Promise<Value> =>
    JSON.parse(await output(root, words)) as Value;
  try {
    const first: ImageMeasured[] = [];
    const cached: ImageMeasured[] = [];
    for (let count = 0; count < runs; count++) {
      const cache = join(folder, `${count}`);
      first.push(await measure("measure-image", kernel.imagePath, cache));
      cached.push(await measure("measure-image", kernel.imagePath, cache));
    }
    const [{ size, symbols, types }] = first as [ImageMeasured, ...ImageMeasured[]];
    console.log(
      `${kernel.release}: ${size} MiB unpacked, ${symbols} symbols, ${types} types; median of ${runs} processes\n`,
    );
    const rows: string[][] = [["", "open", "index", "peak memory"]];
    for (const [title, all] of [
      ["first time", first],
      ["from the cache", cached],
    ] as const) {
      const [open, index] = [median(all.map((each) => each.open)), median(all.map((each) => each.index))];
      rows.push([title, milliseconds(open), milliseconds(index), `${median(all.map((each) => each.peakMemory))} MiB`]);
    }
    for (const line of formatTable(rows)) console.log(line);
    console.log(
      "\n  open    unpacks the image the first time, and finds the unpacked one from then on\n  index   until a symbol, a type and a section were looked up",
    );

    const wanted = Number(flags.find((flag) => flag.startsWith("--pairs="))?.slice(8) ?? (short ? 2 : wantedPairs));
    const pairs = await makePairs(join(cacheRoot(), "bench"), wanted, availableParallelism());
    const names = (await pairsIn(pairs)).slice(0, short ? wanted : undefined);
    const cache = join(folder, "0");
    const matches = await measure<MatchMeasured[]>("measure-matches", kernel.imagePath, cache, pairs, ...names);
    const times = matches.map(({ match }) => match).sort((a, b) => a - b);
    const slowest = matches.find(({ match }) => match === times.at(-1));
    console.log("\nUnits of the image, one after the other in one process:\n");
    const sum = (of: (each: MatchMeasured) => number): number => matches.reduce((total, each) => total + of(each), 0);
    const table = [
      ["units", "functions matched", "median", "95 %", "slowest", "reading, median"],
      [
        `${matches.length}`,
        `${sum((each) => each.matched)} of ${sum((each) => each.functions)}`,
        milliseconds(median(times)),
        milliseconds(times[Math.floor(times.length * 0.95)] ?? Number.NaN),
        `${milliseconds(times.at(-1) ?? Number.NaN)} (${slowest?.name})`,
        milliseconds(median(matches.map(({ read }) => read))),
      ],
    ];
    for (const line of formatTable(table)) console.log(line);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Standard output of this program with other words. */
async function output(root: string, words: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [join(root, "dist", "bench", "run.js"), ...words], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => (text += part));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  if (code !== 0) throw childFailed(words[0] ?? "", code);
  return text;
}

function milliseconds(time: number): string {
  return `${time.toFixed(time < 10 ? 1 : 0)} ms`;
}

import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { formatTable } from "../src/cli/terminal/table.ts";
import { findTargetKernel } from "../src/kernel/find.ts";
import { bareCompiles } from "./bare-compiles.ts";
import { type Benchmark, type BenchmarkOptions, childFailed, median, seconds } from "./benchmark.ts";
import { peakMemory } from "./peak-memory.ts";

const usualRuns = 5;

/** `build` of the shipped examples against the compilers alone. `--no-cold` leaves out the build from an empty cache. */
export const buildBenchmark: Benchmark = {
  title: "the shipped examples for the newest stock kernel, against the same compile commands run bare on all cores",
  run,
};

async function run({ root, flags, short }: BenchmarkOptions): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "kmend-bench-"));
  const output = join(folder, "output");
  await mkdir(output);
  try {
    const { examples: all } = JSON.parse(await readFile(join(root, "examples", "examples.json"), "utf8")) as {
      examples: { patch: string }[];
    };
    const examples = short ? all.slice(0, 1) : all;
    const warmRuns = short ? 1 : usualRuns;
    if (!short && !flags.includes("--no-cold")) await cold(root, folder, output, examples[0]?.patch ?? "");
    const rows: string[][] = [["example", "first", "warm", "bare", "warm ÷ bare", "kmend", "largest child"]];
    for (const { patch } of examples) {
      const path = join(root, "examples", patch);
      const first = await build(root, path, output);
      const warm: number[] = [];
      for (let count = 0; count < warmRuns; count++) warm.push(await build(root, path, output));
      const kernel = await findTargetKernel({ kernel: "newest" });
      const bare: number[] = [];
      for (let count = 0; count < warmRuns; count++) {
        bare.push(await bareCompiles(kernel, path, join(folder, `${patch}-${count}`)));
      }
      const child = start(root, path, output);
      const memory = await peakMemory(child.pid as number, end(child));
      const ratio = median(warm) / median(bare);
      rows.push([
        patch,
        seconds(first),
        seconds(median(warm)),
        seconds(median(bare)),
        ratio.toFixed(2),
        `${memory.own} MiB`,
        `${memory.largestChild} MiB`,
      ]);
    }
    for (const line of formatTable(rows)) console.log(line);
    console.log(`
  first   the tree is prepared; this example may have been built before
  warm    median of ${warmRuns} further builds, start of the program included
  bare    median of ${warmRuns}: both builds of each unit and the glue, ${availableParallelism()} at once
  memory  most resident memory of kmend, and of the largest process that it started`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function cold(root: string, folder: string, output: string, patch: string): Promise<void> {
  const env = { ...process.env, KMEND_CACHE: join(folder, "cache") };
  const started = performance.now();
  const child = start(root, join(root, "examples", patch), output, env);
  const memory = await peakMemory(child.pid as number, end(child));
  const time = seconds(performance.now() - started);
  console.log(
    `  ${patch} from an empty cache, downloads included: ${time}; kmend ${memory.own} MiB, largest child ${memory.largestChild} MiB\n`,
  );
  await rm(join(folder, "cache"), { recursive: true, force: true });
}

function start(root: string, patch: string, output: string, env: NodeJS.ProcessEnv = process.env): ChildProcess {
  const words = ["build", patch, "--kernel", "newest", "--quiet", "--output", output];
  return spawn(join(root, "bin", "kmend"), words, { env, stdio: ["ignore", "ignore", "inherit"] });
}

function end(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(childFailed("kmend build", code))));
  });
}

/** Wall time in milliseconds. */
async function build(root: string, patch: string, output: string): Promise<number> {
  const started = performance.now();
  await end(start(root, patch, output));
  return performance.now() - started;
}

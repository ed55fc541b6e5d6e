import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Benchmark } from "./benchmark.ts";

/** Benchmarks by name; `npm run bench` runs all of them, `npm run bench -- NAME...` some, and `npm run bench -- fixes OPTIONS` the one on real fixes. */
const benchmarks: Readonly<Record<string, () => Promise<Benchmark>>> = {
  build: async () => (await import("./build.ts")).buildBenchmark,
  diff: async () => (await import("./diff.ts")).diffBenchmark,
};

/** Takes long and has options of its own: runs only when it is the first word. */
if (process.argv[2] === "fixes") {
  await (await import("./fixes.ts")).fixes(process.argv.slice(3));
  process.exit();
}

/** What the benchmark of `diff` runs in a process of its own. */
if (process.argv[2] === "measure-pairs") {
  const { measurePairs } = await import("./diff/measure-pairs.ts");
  console.log(JSON.stringify(await measurePairs(process.argv[3] as string)));
  process.exit();
}

const asked = process.argv.slice(2).filter((word) => !word.startsWith("-"));
const unknown = asked.filter((name) => benchmarks[name] === undefined);
if (unknown.length > 0) {
  console.error(
    `no benchmark named ${unknown.join(", ")}; there are ${[...Object.keys(benchmarks), "fixes"].join(", ")}`,
  );
  process.exit(2);
}
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
for (const [name, load] of Object.entries(benchmarks)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const benchmark = await load();
  console.log(`\n${name}: ${benchmark.title}\n`);
  await benchmark.run({ root, flags: process.argv.slice(2).filter((word) => word.startsWith("-")) });
}

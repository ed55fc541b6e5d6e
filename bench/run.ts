import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Benchmark } from "./benchmark.ts";

/** Benchmarks by name; `npm run bench` runs all of them, `npm run bench -- NAME...` some. */
const benchmarks: Readonly<Record<string, () => Promise<Benchmark>>> = {
  build: async () => (await import("./build.ts")).buildBenchmark,
};

const asked = process.argv.slice(2).filter((word) => !word.startsWith("-"));
const unknown = asked.filter((name) => benchmarks[name] === undefined);
if (unknown.length > 0) {
  console.error(`no benchmark named ${unknown.join(", ")}; there are ${Object.keys(benchmarks).join(", ")}`);
  process.exit(2);
}
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
for (const [name, load] of Object.entries(benchmarks)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const benchmark = await load();
  console.log(`\n${name}: ${benchmark.title}\n`);
  await benchmark.run({ root, flags: process.argv.slice(2).filter((word) => word.startsWith("-")) });
}

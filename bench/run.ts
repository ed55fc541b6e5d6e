import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Benchmark } from "./benchmark.ts";

/** Benchmarks by name; `npm run bench` runs all of them, `npm run bench -- NAME...` some, and `npm run bench -- fixes OPTIONS` the one on real fixes. */
const benchmarks: Readonly<Record<string, () => Promise<Benchmark>>> = {
  build: async () => (await import("./build.ts")).buildBenchmark,
  kernel: async () => (await import("./kernel.ts")).kernelBenchmark,
  diff: async () => (await import("./diff.ts")).diffBenchmark,
};

const help = `Usage: npm run bench -- [build] [kernel] [diff] [OPTIONS]
       npm run bench -- fixes [OPTIONS]
       npm run bench -- mutants [OPTIONS]

Prints tables of times and memory; judges nothing. Without a name, the first three are run.

  build          the shipped examples against the same compile commands run bare
    --no-cold    leave out the build from an empty cache
  kernel         symbols and types of the kernel image, and the match of its units
    --pairs=N    how many units of the kernel are compiled for it
  diff           the comparison alone, over pairs of real units
    --pairs=N    how many of them
  fixes          the kernel's own fixes as patches; takes hours, see fixes --help
  mutants        builds on sources that differ from the kernel's in one place; see mutants --help
  -h, --help     show this help`;

const words = process.argv.slice(2);
const wantsHelp = words.includes("--help") || words.includes("-h");
if (wantsHelp && words[0] !== "fixes" && words[0] !== "mutants") {
  console.log(help);
  process.exit();
}

/** Takes long and has options of its own: runs only when it is the first word. */
if (words[0] === "fixes") {
  const { fixes, fixesHelp } = await import("./fixes.ts");
  if (wantsHelp) console.log(fixesHelp);
  else await fixes(words.slice(1));
  process.exit();
}

if (words[0] === "mutants") {
  const { mutants, mutantsHelp } = await import("./mutants.ts");
  if (wantsHelp) console.log(mutantsHelp);
  else await mutants(words.slice(1), root);
  process.exit();
}

/** What the benchmark of `diff` runs in a process of its own. */
if (words[0] === "measure-pairs") {
  const { measurePairs } = await import("./diff/measure-pairs.ts");
  console.log(JSON.stringify(await measurePairs(words[1] as string)));
  process.exit();
}

/** What the benchmark of `kernel` runs in processes of their own. */
if (words[0] === "measure-image" || words[0] === "measure-matches") {
  const { measureImage, measureMatches } = await import("./kernel/measure-kernel.ts");
  const [image, cache, pairs] = words.slice(1) as [string, string, string];
  const measured = words[0] === "measure-image" ? measureImage(image, cache) : measureMatches(image, cache, pairs);
  console.log(JSON.stringify(await measured));
  process.exit();
}

const asked = words.filter((word) => !word.startsWith("-"));
const flags = words.filter((word) => word.startsWith("-"));
const unknownFlag = flags.find((flag) => flag !== "--no-cold" && !/^--pairs=[1-9]\d*$/.test(flag));
if (unknownFlag !== undefined) {
  console.error(`no such option: ${unknownFlag}\n\n${help}`);
  process.exit(2);
}
const unknown = asked.filter((name) => benchmarks[name] === undefined);
if (unknown.length > 0) {
  console.error(
    `no benchmark named ${unknown.join(", ")}; there are ${[...Object.keys(benchmarks), "fixes", "mutants"].join(", ")}`,
  );
  process.exit(2);
}
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
for (const [name, load] of Object.entries(benchmarks)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const benchmark = await load();
  console.log(`\n${name}: ${benchmark.title}\n`);
  await benchmark.run({ root, flags });
}

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { asKmendError, formatProblem, traceOf } from "../src/cli/report/problem.ts";
import { styleFor } from "../src/cli/terminal/style.ts";
import { ExitCode, KmendError } from "../src/support/errors.ts";
import type { Benchmark } from "./benchmark.ts";

/** Benchmarks by name; `npm run bench` runs all of them, `npm run bench -- NAME...` some. */
const benchmarks: Readonly<Record<string, () => Promise<Benchmark>>> = {
  build: async () => (await import("./build.ts")).buildBenchmark,
  kernel: async () => (await import("./kernel.ts")).kernelBenchmark,
  diff: async () => (await import("./diff.ts")).diffBenchmark,
};

/** Programs with options of their own: they run only when they are the first word. The `measure` ones are what others run in a process of its own. */
const programs: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  fuzz: async (args) => (await import("./fuzz.ts")).fuzz(args, join(root(), "dist", "bench", "run.js")),
  "fuzz-parser": async (args) => (await import("./fuzz/run-parser.ts")).runParser(args),
  fixes: async (args) => (await import("./fixes.ts")).fixes(args),
  cves: async (args) => (await import("./cves.ts")).cves(args),
  report: async (args) => (await import("./report-page.ts")).reportPages(args),
  matrix: async (args) => (await import("./matrix.ts")).matrix(args, root()),
  "measure-matrix-worker": async ([words]) => (await import("./matrix/worker.ts")).simulatedWorker(words as string),
  mutants: async (args) => (await import("./mutants.ts")).mutants(args, root()),
  replace: async (args) => (await import("./replace.ts")).replace(args),
  "measure-pairs": async ([folder, ...names]) => {
    const { measurePairs } = await import("./diff/measure-pairs.ts");
    console.log(JSON.stringify(await measurePairs(folder as string, names)));
  },
  "measure-image": async ([image, cache]) => {
    const { measureImage } = await import("./kernel/measure-kernel.ts");
    console.log(JSON.stringify(await measureImage(image as string, cache as string)));
  },
  "measure-matches": async ([image, cache, pairs, ...names]) => {
    const { measureMatches } = await import("./kernel/measure-kernel.ts");
    console.log(JSON.stringify(await measureMatches(image as string, cache as string, pairs as string, names)));
  },
};

const help = `Usage: npm run bench -- [build] [kernel] [diff] [OPTIONS]
       npm run bench -- fixes [OPTIONS]
       npm run bench -- cves --table FILE [OPTIONS]
       npm run bench -- mutants [OPTIONS]
       npm run bench -- matrix [OPTIONS]
       npm run bench -- replace [OPTIONS]
       npm run bench -- report PAGE...
       npm run bench -- fuzz [PARSER] [COUNT]

Prints tables of times and memory; judges nothing. Without a name, the first three are run.

  build          the shipped examples against the same compile commands run bare
    --no-cold    leave out the build from an empty cache
  kernel         symbols and types of the kernel image, and the match of its units
    --pairs=N    how many units of the kernel are compiled for it
  diff           the comparison alone, over pairs of real units
    --pairs=N    how many of them
  fixes          the kernel's own fixes as patches; takes hours, see fixes --help
  cves           fixes of published vulnerabilities, told apart by their files; takes hours, see cves --help
  mutants        sources that differ from the kernel's, and modules that differ from what was built, in one place; see mutants --help
  matrix         cells of a matrix with and without a queue, also while workers are killed; cells without a compiler; see matrix --help
  replace        functions that are replaced by equal ones, while the kernel works; see replace --help
  report         how long Chromium takes to open pages that kmend report made
  fuzz           damaged inputs for every parser, see fuzz --help
  --short        each of them once, over as little as it can
  -vv            with an error, where in the program it happened
  -h, --help     show this help`;

/** Runs what the args ask for. @throws KmendError `USAGE` (exit 2) for args that mean nothing */
async function main(args: readonly string[]): Promise<void> {
  const program = programs[args[0] ?? ""];
  if (program !== undefined) return program(args.slice(1));
  if (args.includes("--help") || args.includes("-h")) {
    console.log(help);
    return;
  }
  const asked = args.filter((word) => !word.startsWith("-"));
  const flags = args.filter((word) => word.startsWith("-"));
  const unknownFlag = flags.find((flag) => !/^(-vv|--(no-cold|short|pairs=[1-9]\d*))$/.test(flag));
  if (unknownFlag !== undefined) throw usageError(`no such option: ${unknownFlag}`);
  const unknown = asked.filter((name) => benchmarks[name] === undefined);
  if (unknown.length > 0) throw usageError(`no benchmark is named ${unknown.join(", ")}`);
  for (const [name, load] of Object.entries(benchmarks)) {
    if (asked.length > 0 && !asked.includes(name)) continue;
    const benchmark = await load();
    console.log(`\n${name}: ${benchmark.title}\n`);
    await benchmark.run({ root: root(), flags, short: flags.includes("--short") });
  }
}

/** The checkout. */
function root(): string {
  return join(dirname(fileURLToPath(import.meta.url)), "..", "..");
}

function usageError(message: string): KmendError {
  return new KmendError({
    code: "USAGE",
    message,
    hint: `npm run bench -- --help; there are ${[...Object.keys(benchmarks), ...Object.keys(programs).filter((name) => !name.includes("-"))].join(", ")}`,
    exitCode: ExitCode.usage,
  });
}

try {
  await main(process.argv.slice(2));
} catch (thrown) {
  const { code, message, where, why, hint, exitCode } = asKmendError(thrown);
  process.stderr.write(formatProblem({ kind: "error", code, message, where, why, hint }, styleFor(process.stderr)));
  if (process.argv.includes("-vv")) process.stderr.write(`${traceOf(thrown)}\n`);
  process.exitCode = exitCode;
}

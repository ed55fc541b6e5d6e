import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chooseDistribution } from "../src/kernel/sources/distribution/choose.ts";
import { cacheRoot } from "../src/support/cache.ts";
import { ExitCode, KmendError, messageOf } from "../src/support/errors.ts";
import { SilentProgress } from "../src/support/progress.ts";
import { type RealResult, runReal } from "./matrix/real.ts";
import { simulate } from "./matrix/simulate.ts";

/** What the words of {@link matrix} mean. */
const matrixHelp = `Usage: npm run bench -- matrix [OPTIONS]

Builds the cells of a matrix without a queue, and with workers; then while a worker is killed every 20 seconds, and Redis twice. Takes cells without a compiler
through the queue, to see how it grows.

  --kernels PATTERN   regular expression for releases; default: all with source
  --limit N           how many of them at most, the newest; default: all
  --patches DIR       folder of patches; default: examples
  --workers LIST      with how many workers, with commas; default: 1,2,4
  --cells LIST        how many simulated cells, with commas; default: 25000,50000,100000
  --only PART         real, kills or simulation; default: all three
  --short             500 simulated cells
  -h, --help          show this help`;

/** Measures the matrix. @param root the checkout. */
export async function matrix(words: readonly string[], root: string): Promise<void> {
  const values = readOptions(words);
  if (values.help) {
    console.log(matrixHelp);
    return;
  }
  const isAsked = (part: string): boolean => values.only === "" || values.only === part;
  if (!values.short && (isAsked("real") || isAsked("kills"))) await measureReal(values, root, isAsked);
  if (isAsked("simulation")) await measureSimulation(values.short ? [500] : numbers(values.cells), root);
}

function readOptions(words: readonly string[]) {
  const text = (value: string) => ({ type: "string", default: value }) as const;
  try {
    return parseArgs({
      args: [...words],
      options: {
        ...{ kernels: text("."), limit: text("1000"), patches: text(""), workers: text("1,2,4") },
        ...{ cells: text("25000,50000,100000"), only: text("") },
        short: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    }).values;
  } catch (error) {
    throw usage(messageOf(error));
  }
}

function usage(message: string): KmendError {
  return new KmendError({
    code: "USAGE",
    message,
    hint: "npm run bench -- matrix --help",
    exitCode: ExitCode.usage,
  });
}

function numbers(text: string): number[] {
  const found = text.split(",").map(Number);
  if (found.every((number) => Number.isInteger(number) && number > 0)) return found;
  throw usage(`not a list of numbers: ${text}`);
}

async function measureReal(
  values: ReturnType<typeof readOptions>,
  root: string,
  isAsked: (part: string) => boolean,
): Promise<void> {
  const distribution = await chooseDistribution();
  const offered = await distribution.kernels({ cache: cacheRoot(), progress: new SilentProgress() });
  const meant = offered.filter(({ release, hasSource }) => hasSource && new RegExp(values.kernels).test(release));
  const kernels = meant.map(({ release }) => release).slice(-Number(values.limit));
  const folder = values.patches === "" ? join(root, "examples") : values.patches;
  const patches = (await readdir(folder)).filter((name) => name.endsWith(".patch")).sort();
  const subject = { root, kernels, patches: patches.map((name) => join(folder, name)) };
  const cells = kernels.length * patches.length;
  console.log(`${kernels.length} kernels × ${patches.length} patches: ${cells} cells`);
  // Downloads, and prepares the trees.
  await runReal(subject, { workers: 0, kills: false });
  const alone = await runReal(subject, { workers: 0, kills: false });
  const show = (name: string, { seconds, counts, store, killed }: RealResult): void => {
    const rate = ((cells / seconds) * 60).toFixed(1).padStart(6);
    const ratio = `${((seconds / alone.seconds - 1) * 100).toFixed(1)} %`.padStart(8);
    const same = store === alone.store ? "same store" : "OTHER STORE";
    const shown = Object.entries(counts).filter(([, count]) => count > 0);
    const about = shown.map(([state, count]) => `${count} ${state}`).join(", ");
    console.log(
      `  ${name.padEnd(22)} ${seconds.toFixed(1).padStart(7)} s ${rate} cells/min ${ratio}  ${same}  ${about}${killed > 0 ? `; ${killed} workers killed` : ""}`,
    );
  };
  show("one after the other", alone);
  for (const workers of numbers(values.workers)) {
    if (isAsked("real")) show(`${workers} workers`, await runReal(subject, { workers, kills: false }));
  }
  if (isAsked("kills")) show("4 workers, with kills", await runReal(subject, { workers: 4, kills: true }));
}

async function measureSimulation(sizes: readonly number[], root: string): Promise<void> {
  const program = join(root, "dist", "bench", "run.js");
  for (const size of sizes) {
    const { adding, bytesPerCell, working } = await simulate(size, 2, program);
    const rates = [(size / adding).toFixed(0).padStart(6), (size / working).toFixed(0).padStart(6)];
    console.log(
      `  ${String(size).padStart(7)} simulated cells: added ${rates[0]} a second, done ${rates[1]} a second, ${bytesPerCell.toFixed(0)} bytes of Redis for each`,
    );
  }
}

import { mkdir, rm, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { ExitCode, KmendError, messageOf } from "../src/support/errors.ts";
import { SilentProgress } from "../src/support/progress.ts";
import { buildFixes } from "./fixes/build-fixes.ts";
import { isWholeFile, shuffled } from "./fixes/corpus.ts";
import { openOnto } from "./fixes/onto.ts";
import { histograms } from "./fixes/plot.ts";
import type { FixRecord, TryRecord } from "./fixes/records.ts";
import { report } from "./fixes/report.ts";
import { openSession } from "./fixes/session.ts";
import { tryFixes } from "./fixes/try-fixes.ts";

/** What the words of {@link fixes} mean. */
const fixesHelp = `Usage: npm run bench -- fixes [OPTIONS]

Turns what differs between two versions of one kernel series into patches against the older one, and builds each for its stock kernel.
Records, a report and a plot go to the cache, below bench/.

  --from VERSION, --to VERSION   package versions; default: the oldest and the newest of one series that the archive offers
  --onto KERNEL  build for this kernel instead, of a later series: patches that take the fixes back, where its source has them
  --archive FILE take that kernel from the archives in this deb822 file (sources.list(5))
  --limit N      how many patches; default 100
  --only KIND    files: patches of whole files; groups: patches of function groups; default: both
  --seed S       which ones, and in which order; default 1
  --jobs N       patches at once; default: one for each core
  --joins N      how many that do not compile by themselves are built once more together with the files that they need; default: all
  --units N      how many units such a joined patch may touch; default 20
  --try          load, put in force, take back and unload every built module in a virtual machine
  --within DIR   compare this folder of the tree only; may be repeated
  --short        one patch of fs/proc
  --resume       keep the records of an earlier run with this seed, and go on
  -h, --help     show this help`;

/**
 * What share of the kernel's own fixes becomes a working patch module. Compares two versions of one series that the archive offers and builds each
 * difference as a patch against the older one. Results go to the cache: records as JSON lines, a report and a plot.
 * @param words `--from VERSION --to VERSION --limit N --only KIND --seed S --jobs N --units N --joins N --try --resume`; `--units`
 *   and `--joins` limit the size and the number of joined patches
 */
export async function fixes(words: readonly string[]): Promise<void> {
  const values = readOptions(words);
  if (values.help) {
    console.log(fixesHelp);
    return;
  }
  const own = await openSession({ from: values.from, to: values.to, within: values.within });
  const archive = values.archive === undefined ? undefined : { sources: resolve(values.archive) };
  const session =
    values.onto === undefined ? own : await openOnto(own, { kernel: values.onto, archive }, new SilentProgress());
  const folder = join(session.folder, `seed-${values.seed.replaceAll(/\W/g, "-")}`);
  if (!values.resume) await rm(folder, { recursive: true, force: true });
  const output = join(folder, "modules");
  await mkdir(output, { recursive: true });
  const { older, newer } = session.pair;
  console.log(
    `${older.packageVersion} → ${newer.packageVersion}${values.onto === undefined ? "" : `, taken back on ${session.kernel.release}`}: ${session.corpus.fixes.length} patches; results in ${folder}`,
  );

  const jobs = Math.max(1, Number(values.jobs));
  const kinds: Record<string, boolean> = { files: true, groups: false };
  const offered = session.corpus.fixes.filter((fix) => values.only === "" || kinds[values.only] === isWholeFile(fix));
  const chosen = shuffled(offered, values.seed).slice(0, Number(values.limit));
  const started = performance.now();
  let built = 0;
  const records = await buildFixes({
    ...{ session, fixes: chosen, records: join(folder, "records.jsonl"), output, jobs, seed: values.seed },
    units: Number(values.units),
    joins: Number(values.joins),
    compilers: Math.max(1, Math.floor(availableParallelism() / jobs)),
    onRecord: (record, done) => {
      built++;
      console.log(`${done}/${chosen.length} ${describe(record)}`);
    },
  });
  const minutes = (performance.now() - started) / 60_000;
  if (built > 0) console.log(`${(built / minutes).toFixed(1)} fixes per minute`);
  const tries = values.try
    ? await tryFixes({
        kernel: session.kernel,
        built: records.filter(({ outcome }) => outcome === "built"),
        ...{ records: join(folder, "tries.jsonl"), output },
        onRecord: ({ id, verdict, failure }, done) => console.log(`${done} ${verdict} ${id} ${failure ?? ""}`),
      })
    : [];
  const text = report({ session, seed: values.seed, records, tries });
  await writeFile(join(folder, "report.md"), text);
  await writeFile(join(folder, "times.svg"), plot(records, tries));
  console.log(`\n${text}`);
}

/** @throws KmendError `USAGE` (exit 2) */
function readOptions(words: readonly string[]) {
  try {
    const { values: given } = parseArgs({
      args: [...words],
      options: {
        from: { type: "string" },
        to: { type: "string" },
        onto: { type: "string" },
        archive: { type: "string" },
        limit: { type: "string", default: "100" },
        only: { type: "string", default: "" },
        seed: { type: "string", default: "1" },
        jobs: { type: "string", default: String(availableParallelism()) },
        units: { type: "string", default: "20" },
        joins: { type: "string", default: "Infinity" },
        try: { type: "boolean", default: false },
        resume: { type: "boolean", default: false },
        within: { type: "string", multiple: true, default: [] },
        short: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    const { short } = given;
    const values = short ? { ...given, limit: "1", joins: "0", within: ["fs/proc"] } : given;
    const numbers = [values.limit, values.jobs, values.units, values.joins];
    const wrong = numbers.find((word) => !(word === "Infinity" || /^\d+$/.test(word)));
    if (!["", "files", "groups"].includes(values.only))
      throw new Error(`--only is files or groups, and not ${values.only}`);
    if (wrong !== undefined) throw new Error(`not a number: ${wrong}`);
    return values;
  } catch (error) {
    const hint = "npm run bench -- fixes --help";
    throw new KmendError({ code: "USAGE", message: messageOf(error), hint, exitCode: ExitCode.usage, cause: error });
  }
}

function describe({ id, outcome, refusals, error, milliseconds }: FixRecord): string {
  const codes = [...new Set(refusals.map(({ code }) => code))].sort().join("+");
  return [
    outcome,
    id,
    codes,
    outcome === "failed" ? `${error?.code} ${error?.message}` : "",
    `${milliseconds["total"]} ms`,
  ]
    .filter(Boolean)
    .join(" ");
}

function plot(records: readonly FixRecord[], tries: readonly TryRecord[]): string {
  const built = records.filter(({ outcome }) => outcome === "built");
  const times = built.map(({ milliseconds }) => (milliseconds["total"] ?? 0) / 1000);
  const ratios = built.flatMap(({ milliseconds, bareMilliseconds }) =>
    bareMilliseconds === undefined ? [] : [(milliseconds["total"] ?? 0) / bareMilliseconds],
  );
  const transitions = tries.flatMap(({ transitionMilliseconds }) =>
    transitionMilliseconds === null ? [] : [transitionMilliseconds / 1000],
  );
  return histograms([
    { title: "Time to a proven module", values: times, unit: "s" },
    { title: "Time ÷ bare compile of the same units, both builds", values: ratios, unit: "×" },
    ...(transitions.length > 0 ? [{ title: "Transition in the virtual machine", values: transitions, unit: "s" }] : []),
  ]);
}

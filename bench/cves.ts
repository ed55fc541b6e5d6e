import { mkdir, rm, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseKernelVersion } from "../src/cve/kernel-version.ts";
import { Debian } from "../src/kernel/sources/distribution/debian.ts";
import { compareDebianVersions, upstreamVersion } from "../src/kernel/sources/distribution/debian-version.ts";
import { cacheRoot, sha256 } from "../src/support/cache.ts";
import { ExitCode, KmendError, messageOf } from "../src/support/errors.ts";
import { SilentProgress } from "../src/support/progress.ts";
import { between, type CveCase, type ListedCve, makeCases, type NoCase, readTable } from "./cves/cases.ts";
import { buildFixes } from "./fixes/build-fixes.ts";
import type { FixRecord, TryRecord } from "./fixes/records.ts";
import { openSession } from "./fixes/session.ts";
import { tryFixes } from "./fixes/try-fixes.ts";

const cvesHelp = `Usage: npm run bench -- cves --table FILE [OPTIONS]

Builds the fixes of listed vulnerabilities from the differences between the kernel versions of one series that the archive offers: those that are the
only one of their source files between two of them. Records and a report go to the cache, below bench/.

  --table FILE   tab-separated, with the columns cve, fixed_in, cvss_vector, files and title
  --series X.Y   series of the kernel; default: that of the first line
  --limit N      how many cases of each pair of versions; default: all
  --seed S       which ones; default 1
  --within DIR   look at this folder of the tree only; may be repeated
  --jobs N       cases at once; default: one for each core
  --try          try every module of a vulnerability with a CVSS base score of 9 or more in a virtual machine
  --resume       keep the records of an earlier run
  -h, --help     show this help`;

interface CvesOptions {
  readonly table: string;
  readonly series: string | undefined;
  readonly limit: number;
  readonly seed: string;
  readonly jobs: number;
  readonly within: readonly string[];
  readonly tries: boolean;
  readonly resume: boolean;
}

/** What one pair of versions came to. */
interface PairResult {
  readonly older: string;
  readonly newer: string;
  readonly listed: number;
  readonly others: ReadonlyMap<NoCase, number>;
  readonly cases: readonly CveCase[];
  readonly records: readonly FixRecord[];
  readonly tries: readonly TryRecord[];
}

/**
 * What share of published vulnerabilities becomes a proven patch module.
 * @throws KmendError `USAGE` (exit 2), `NO_VERSION_PAIR` (exit 2) when the archive has no two versions around the vulnerabilities.
 */
export async function cves(words: readonly string[]): Promise<void> {
  const options = readOptions(words);
  if (options === undefined) {
    console.log(cvesHelp);
    return;
  }
  const listed = await readTable(options.table).catch((error: unknown) => {
    throw usage(messageOf(error), error);
  });
  const series = options.series ?? listed[0]?.fixedIn.series;
  const versions = await versionsOf(series ?? "");
  const results: PairResult[] = [];
  for (const [index, older] of versions.slice(0, -1).entries()) {
    const result = await runPair(older, versions[index + 1] as string, listed, options);
    if (result !== undefined) results.push(result);
  }
  if (results.length === 0) {
    throw new KmendError({
      code: "NO_VERSION_PAIR",
      message: `the archive has no two versions of ${series ?? "a kernel"} between which one of the vulnerabilities was fixed`,
      hint: "run: sudo apt-get update",
      exitCode: ExitCode.usage,
    });
  }
  const text = report(results, options.seed);
  const path = join(cacheRoot(), "bench", "cves-report.md");
  await writeFile(path, text);
  console.log(`\n${text}\nin ${path}`);
}

function readOptions(words: readonly string[]): CvesOptions | undefined {
  try {
    const { values } = parseArgs({
      args: [...words],
      options: {
        table: { type: "string" },
        series: { type: "string" },
        limit: { type: "string", default: "Infinity" },
        seed: { type: "string", default: "1" },
        jobs: { type: "string", default: String(availableParallelism()) },
        within: { type: "string", multiple: true, default: [] },
        try: { type: "boolean", default: false },
        resume: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    if (values.help) return undefined;
    if (values.table === undefined) throw new Error("--table FILE is missing");
    const wrong = [values.limit, values.jobs].find((word) => !(word === "Infinity" || /^\d+$/.test(word)));
    if (wrong !== undefined) throw new Error(`not a number: ${wrong}`);
    const { table, series, seed, resume, within } = values;
    return {
      table,
      series,
      seed,
      resume,
      within,
      limit: Number(values.limit),
      jobs: Number(values.jobs),
      tries: values.try,
    };
  } catch (error) {
    throw usage(messageOf(error), error);
  }
}

function usage(message: string, cause: unknown): KmendError {
  return new KmendError({
    ...{ code: "USAGE", message, hint: "npm run bench -- cves --help" },
    exitCode: ExitCode.usage,
    cause,
  });
}

/** Package versions of a series with source on offer, one for each upstream version: the newest packaging of it. */
async function versionsOf(series: string): Promise<string[]> {
  const kernels = await new Debian().kernels({ cache: cacheRoot(), progress: new SilentProgress() });
  const usable = kernels.filter(
    ({ packageVersion, hasSource }) => hasSource && parseKernelVersion(packageVersion)?.series === series,
  );
  const newest = new Map<string, string>();
  for (const { packageVersion } of usable) {
    const upstream = upstreamVersion(packageVersion);
    const known = newest.get(upstream);
    if (known === undefined || compareDebianVersions(known, packageVersion) < 0) newest.set(upstream, packageVersion);
  }
  return [...newest.values()].sort(compareDebianVersions);
}

async function runPair(
  from: string,
  to: string,
  all: readonly ListedCve[],
  options: CvesOptions,
): Promise<PairResult | undefined> {
  const [older, newer] = [parseKernelVersion(from), parseKernelVersion(to)];
  if (older === undefined || newer === undefined) return undefined;
  const listed = between(all, older, newer);
  if (listed.length === 0) return undefined;
  const session = await openSession({ from, to, within: options.within });
  const folder = join(session.folder, "cves");
  if (!options.resume) await rm(folder, { recursive: true, force: true });
  const output = join(folder, "modules");
  await mkdir(join(folder, "patches"), { recursive: true });
  await mkdir(output, { recursive: true });
  const { cases, others } = await makeCases(listed, session.corpus, join(folder, "patches"));
  const chosen = [...cases]
    .sort((a, b) => (sha256(options.seed, a.cve.id) < sha256(options.seed, b.cve.id) ? -1 : 1))
    .slice(0, options.limit);
  console.log(
    `${from} → ${to}: ${listed.length} vulnerabilities, ${cases.length} of them cases; ${chosen.length} are built`,
  );
  const records = await buildFixes({
    ...{ session, fixes: chosen.map(({ fix }) => fix), records: join(folder, "records.jsonl"), output },
    ...{ jobs: options.jobs, seed: options.seed, units: 20, joins: Number.POSITIVE_INFINITY, adapt: true },
    compilers: Math.max(1, Math.floor(availableParallelism() / options.jobs)),
    onRecord: ({ id, outcome, refusals, milliseconds }, done) => {
      const codes = [...new Set(refusals.map(({ code }) => code))].sort().join("+");
      console.log(`${done}/${chosen.length} ${outcome} ${id} ${codes} ${milliseconds["total"]} ms`);
    },
  });
  const serious = new Set(chosen.filter(({ cve }) => (cve.score ?? 0) >= 9).map(({ cve }) => cve.id));
  const tries = options.tries
    ? await tryFixes({
        kernel: session.kernel,
        built: records.filter(({ id, outcome }) => outcome === "built" && serious.has(id)),
        ...{ records: join(folder, "tries.jsonl"), output },
        onRecord: ({ id, verdict, failure }, done) => console.log(`${done} ${verdict} ${id} ${failure ?? ""}`),
      })
    : [];
  return { older: from, newer: to, listed: listed.length, others, cases: chosen, records, tries };
}

function report(results: readonly PairResult[], seed: string): string {
  const records = results.flatMap((result) => result.records);
  const effective = records.filter(({ outcome }) => outcome === "built" || outcome === "refused");
  const built = effective.filter(({ outcome }) => outcome === "built");
  const adapted = built.filter((record) => record.adapted === true);
  const parts = results.flatMap(({ cases }) => cases.filter(({ isPart }) => isPart)).length;
  const codes = new Map<string, number>();
  for (const { refusals } of records)
    for (const code of new Set(refusals.map((refusal) => refusal.code))) codes.set(code, (codes.get(code) ?? 0) + 1);
  const outcomes = ["built", "refused", "unchanged", "not-built", "joined", "incomplete", "failed"] as const;
  const tries = results.flatMap((result) => result.tries);
  return [
    `# Coverage of vulnerabilities, seed ${seed}`,
    "",
    "A case is a vulnerability that is the only one of its source files between two versions; its patch is all that differs in them, so other changes of the same files ride along. " +
      `Of files with several vulnerabilities, the hunks whose functions one title names, and no other, are a case (${parts} here).`,
    "",
    "| Versions | Listed | Cases built | No case |",
    "|---|---:|---:|---|",
    ...results.map(({ older, newer, listed, others, cases }) => {
      const rest = [...others].map(([reason, count]) => `${count} ${reason}`).join(", ");
      return `| ${older} → ${newer} | ${listed} | ${cases.length} | ${rest} |`;
    }),
    "",
    `| ${outcomes.join(" | ")} |`,
    `|${outcomes.map(() => "---:").join("|")}|`,
    `| ${outcomes.map((outcome) => records.filter((record) => record.outcome === outcome).length).join(" | ")} |`,
    "",
    `Of ${effective.length} that change built code and are whole, ${built.length} became proven modules` +
      ` (${((100 * built.length) / Math.max(1, effective.length)).toFixed(1)} %), ${adapted.length} of them by --adapt.`,
    "",
    ...(codes.size === 0 ? [] : ["| Refused for | Cases |", "|---|---:|"]),
    ...[...codes].sort((a, b) => b[1] - a[1]).map(([code, count]) => `| ${code} | ${count} |`),
    "",
    ...(tries.length === 0
      ? []
      : [`${tries.filter(({ verdict }) => verdict === "passed").length} of ${tries.length} tried modules passed.`, ""]),
  ].join("\n");
}

import { appendFile, mkdir, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { formatTable } from "../src/cli/table.ts";
import { cacheRoot } from "../src/support/cache.ts";
import { messageOf } from "../src/support/errors.ts";
import { mutateSources } from "./mutants/mutate-sources.ts";
import type { MutantRecord } from "./mutants/run-mutant.ts";

/** What the words of {@link mutants} mean. */
export const mutantsHelp = `Usage: npm run bench -- mutants [OPTIONS]

Builds patches on sources that differ from the kernel's in one small place, and counts how often that goes unseen.
Records go to the cache, below bench/mutants.

  --kernel R     release of a stock kernel, may be repeated; default: newest
  --units N      how many units of each kernel; default 100
  --each N       how many mutants of each unit; default 10
  --seed S       which ones; default 1
  --jobs N       mutants at once; default: one for each core
  -h, --help     show this help`;

/** Mutates the sources of stock kernels and prints a table of what became of the mutants, and every survivor. */
export async function mutants(words: readonly string[]): Promise<void> {
  const values = readOptions(words);
  if (typeof values === "string") {
    console.error(`${values}\n\n${mutantsHelp}`);
    process.exitCode = 2;
    return;
  }
  const folder = join(cacheRoot(), "bench", "mutants");
  await mkdir(folder, { recursive: true });
  const log = join(folder, `seed-${values.seed.replaceAll(/\W/g, "-")}.jsonl`);
  await rm(log, { force: true });
  const records: MutantRecord[] = [];
  for (const kernel of values.kernel) {
    await mutateSources({
      ...{ kernel, units: Number(values.units), each: Number(values.each), seed: values.seed },
      ...{ jobs: Math.max(1, Number(values.jobs)), scratch: join(tmpdir(), `kmend-mutants-${process.pid}`) },
      onRecord: async (record) => {
        records.push(record);
        await appendFile(log, `${JSON.stringify(record)}\n`);
        console.log(`${records.length} ${described(record)}`);
      },
    });
  }
  console.log(`\n${summary(records)}\n\nrecords: ${log}`);
  if (records.some(({ outcome }) => outcome === "survivor" || outcome === "failed")) process.exitCode = 1;
}

/** @returns the options, or what is wrong with the words. */
function readOptions(words: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...words],
      options: {
        kernel: { type: "string", multiple: true, default: ["newest"] },
        units: { type: "string", default: "100" },
        each: { type: "string", default: "10" },
        seed: { type: "string", default: "1" },
        jobs: { type: "string", default: String(availableParallelism()) },
      },
    });
    const wrong = [values.units, values.each, values.jobs].find((word) => !/^[1-9]\d*$/.test(word));
    return wrong === undefined ? values : `not a number: ${wrong}`;
  } catch (error) {
    return messageOf(error);
  }
}

function described({ source, line, kind, before, after, patched, outcome, detail }: MutantRecord): string {
  const change = `${kind}: ${JSON.stringify(before)} → ${JSON.stringify(after)}`;
  return `${outcome.padEnd(16)} ${source}:${line} ${change}, patch of ${patched}  ${detail}`.trimEnd();
}

/** A table of kinds and outcomes, and the mutants that somebody has to look at. */
export function summary(records: readonly MutantRecord[]): string {
  const outcomes = [...new Set(records.map(({ outcome }) => outcome))].sort();
  const kinds = [...new Set(records.map(({ kind }) => kind))].sort();
  const count = (of: Partial<MutantRecord>): string =>
    String(
      records.filter((record) =>
        Object.entries(of).every(([key, value]) => record[key as keyof MutantRecord] === value),
      ).length,
    );
  const rows = [
    ["", ...outcomes, "all"],
    ...kinds.map((kind) => [kind, ...outcomes.map((outcome) => count({ kind, outcome })), count({ kind })]),
    ["all", ...outcomes.map((outcome) => count({ outcome })), String(records.length)],
  ];
  const units = new Set(records.map(({ source, release }) => `${release} ${source}`)).size;
  const open = records.filter(({ outcome }) => outcome === "survivor" || outcome === "failed");
  return [
    ...formatTable(rows),
    "",
    `${records.length} mutants of ${units} units, ${open.length} to be looked at`,
    ...open.map((record) => `  ${described(record)}`),
  ].join("\n");
}

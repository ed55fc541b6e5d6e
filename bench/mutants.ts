import { appendFile, mkdir, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { formatTable } from "../src/cli/terminal/table.ts";
import { cacheRoot } from "../src/support/cache.ts";
import { ExitCode, KmendError, messageOf } from "../src/support/errors.ts";
import { type ModuleRecord, mutateModules } from "./mutants/mutate-modules.ts";
import { mutateSources } from "./mutants/mutate-sources.ts";
import type { MutantRecord } from "./mutants/run-mutant.ts";

/** What the words of {@link mutants} mean. */
const mutantsHelp = `Usage: npm run bench -- mutants [OPTIONS]

Builds patches on sources that differ from the kernel's in one small place, and changes finished modules in one place, and counts how often that
goes unseen. Records go to the cache, below bench/mutants.

  --kernel R     release of a stock kernel, may be repeated; default: newest
  --units N      how many units of each kernel; default 100
  --each N       how many mutants of each unit; default 10
  --modules N    how many mutants of finished modules, for the first kernel; default 10000
  --seed S       which ones; default 1
  --jobs N       mutants at once; default: one for each core
  --short        a few of each
  -h, --help     show this help`;

/**
 * Mutates the sources of stock kernels and finished modules, and prints a table of what became of the mutants, and every survivor.
 * @param root the checkout.
 */
export async function mutants(words: readonly string[], root: string): Promise<void> {
  const values = readOptions(words);
  if (values.help) {
    console.log(mutantsHelp);
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
  const changed: ModuleRecord[] = [];
  await mutateModules({
    ...{ root, kernel: values.kernel[0] as string, count: Number(values.modules), seed: values.seed },
    scratch: join(tmpdir(), `kmend-mutants-${process.pid}`),
    onRecord: async (record) => {
      changed.push(record);
      if (record.outcome !== "caught") await appendFile(log, `${JSON.stringify(record)}\n`);
    },
  });
  const tables = [records.length > 0 ? summary(records) : "", changed.length > 0 ? moduleSummary(changed) : ""];
  console.log(`\n${tables.filter(Boolean).join("\n\n")}\n\nrecords: ${log}`);
  if ([...records, ...changed].some(({ outcome }) => outcome === "survivor" || outcome === "failed"))
    process.exitCode = 1;
}

/** @throws KmendError `USAGE` (exit 2) */
function readOptions(words: readonly string[]) {
  try {
    const { values: given } = parseArgs({
      args: [...words],
      options: {
        kernel: { type: "string", multiple: true, default: ["newest"] },
        units: { type: "string", default: "100" },
        each: { type: "string", default: "10" },
        modules: { type: "string", default: "10000" },
        seed: { type: "string", default: "1" },
        jobs: { type: "string", default: String(availableParallelism()) },
        short: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    const values = given.short ? { ...given, units: "3", each: "2", modules: "48" } : given;
    const numbers = [values.units, values.each, values.modules, values.jobs];
    const wrong = numbers.find((word) => !/^\d+$/.test(word));
    if (wrong !== undefined) throw new Error(`not a number: ${wrong}`);
    return values;
  } catch (error) {
    const hint = "npm run bench -- mutants --help";
    throw new KmendError({ code: "USAGE", message: messageOf(error), hint, exitCode: ExitCode.usage, cause: error });
  }
}

function described({ source, line, kind, before, after, patched, outcome, detail }: MutantRecord): string {
  const change = `${kind}: ${JSON.stringify(before)} → ${JSON.stringify(after)}`;
  return `${outcome.padEnd(16)} ${source}:${line} ${change}, patch of ${patched}  ${detail}`.trimEnd();
}

/** A table of kinds and outcomes, and the mutants that somebody has to look at. */
export function summary(records: readonly MutantRecord[]): string {
  const table = counts(
    records,
    ({ kind }) => kind,
    ({ outcome }) => outcome,
  );
  const units = new Set(records.map(({ source, release }) => `${release} ${source}`)).size;
  const open = records.filter(({ outcome }) => outcome === "survivor" || outcome === "failed");
  return [
    ...table,
    "",
    `${records.length} mutants of ${units} units, ${open.length} to be looked at`,
    ...open.map((record) => `  ${described(record)}`),
  ].join("\n");
}

/** A table of parts and outcomes, and the mutants that nothing saw. */
export function moduleSummary(records: readonly ModuleRecord[]): string {
  const open = records.filter(({ outcome }) => outcome !== "caught");
  return [
    ...counts(
      records,
      ({ part }) => part,
      ({ outcome }) => outcome,
    ),
    "",
    `${records.length} mutants of finished modules, ${open.length} to be looked at`,
    ...open.map(({ module, part, where, outcome, detail }) => `  ${outcome} ${module} ${part} ${where}: ${detail}`),
  ].join("\n");
}

/** Lines of a table that counts records by two of their values. */
function counts<Each>(
  records: readonly Each[],
  rowOf: (record: Each) => string,
  columnOf: (record: Each) => string,
): string[] {
  const rows = [...new Set(records.map(rowOf))].sort();
  const columns = [...new Set(records.map(columnOf))].sort();
  const count = (row: string | undefined, column: string | undefined): string =>
    String(
      records.filter(
        (record) =>
          (row === undefined || rowOf(record) === row) && (column === undefined || columnOf(record) === column),
      ).length,
    );
  return formatTable([
    ["", ...columns, "all"],
    ...[...rows, undefined].map((row) => [
      row ?? "all",
      ...columns.map((column) => count(row, column)),
      count(row, undefined),
    ]),
  ]);
}

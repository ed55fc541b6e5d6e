import { join } from "node:path";
import { sha256 } from "../../src/support/cache.ts";
import { mapConcurrently } from "../../src/support/run.ts";
import { bareCompile } from "./bare-compile.ts";
import type { Fix } from "./corpus.ts";
import { Joiner } from "./join.ts";
import { appendRecord, type FixRecord, readRecords } from "./records.ts";
import { type FixContext, joinFix, mayBeJoined, patchFile, runFix } from "./run-fix.ts";
import type { Session } from "./session.ts";

export interface BuildFixesOptions {
  readonly session: Session;
  readonly fixes: readonly Fix[];
  /** File of records; fixes that are in it are not built again. */
  readonly records: string;
  /** Gets the modules. */
  readonly output: string;
  /** Fixes at once, and compilers at once for each. */
  readonly jobs: number;
  readonly compilers: number;
  /** Units that a joined patch may touch. */
  readonly units: number;
  /** How many fixes that do not compile by themselves are joined with other files. */
  readonly joins: number;
  readonly seed: string;
  /** Rewrite what would be refused for its data, as `--adapt` does. */
  readonly adapt?: boolean | undefined;
  readonly onRecord: (record: FixRecord, done: number) => void;
}

/** One built fix in so many is also compiled bare. */
const bareEvery = 4;

/** Seconds that one build may take. */
const timeoutSeconds = 900;

/**
 * Builds all fixes that have no record yet, first each by itself, then those that need other files together with them.
 * @returns the records of all of them, in the order of the fixes.
 */
export async function buildFixes(options: BuildFixesOptions): Promise<FixRecord[]> {
  const { session, fixes, output, jobs, compilers } = options;
  const known = new Map((await readRecords<FixRecord>(options.records)).map((record) => [record.id, record]));
  const joined = new Map(
    [...known.values()].filter(({ files }) => files.length > 1).map(({ id, files }) => [files.join(" "), id]),
  );
  let joiner: Promise<Joiner> | undefined;
  const context: FixContext = {
    kernel: session.kernel,
    corpus: session.corpus,
    joiner: () => {
      joiner ??= Joiner.of(session.corpus);
      return joiner;
    },
    cache: session.cache,
    output,
    jobs: compilers,
    maxUnits: options.units,
    timeoutSeconds,
    adapt: options.adapt,
    joined,
  };
  const left = fixes.filter(({ id }) => !known.has(id));
  let done = fixes.length - left.length;
  await mapConcurrently(left, jobs, async (fix) => {
    const record = await withBareTime(await runFix(fix, context), context, options);
    await appendRecord(options.records, record);
    known.set(record.id, record);
    options.onRecord(record, ++done);
  });
  const apart = [...known.values()].filter(mayBeJoined).map(({ id }) => id);
  const joinable = fixes.filter(({ id }) => apart.includes(id)).slice(0, options.joins);
  await mapConcurrently(joinable, jobs, async (fix, index) => {
    const alone = known.get(fix.id) as FixRecord;
    const record = await withBareTime(await joinFix(fix, alone, context), context, options);
    await appendRecord(options.records, record);
    known.set(record.id, record);
    options.onRecord(record, index + 1);
  });
  return fixes.map(({ id }) => known.get(id) as FixRecord);
}

/**
 * The sample depends on seed and name only. Units that the cache had already are no fair measure. As many compilers run at once as for the fix itself, beside
 * the same work for other fixes.
 */
async function withBareTime(
  record: FixRecord,
  context: FixContext,
  { session, seed, output, compilers, fixes }: BuildFixesOptions,
): Promise<FixRecord> {
  const isChosen = Number.parseInt(sha256(seed, "bare", record.id).slice(0, 8), 16) % bareEvery === 0;
  if (record.outcome !== "built" || record.warm || !isChosen) return record;
  const alone = fixes.find((fix) => fix.id === record.id)?.patch;
  const patches =
    record.files.length === 1 && alone !== undefined
      ? [alone]
      : await Promise.all(record.files.map((part) => patchFile(part, context)));
  const bareMilliseconds = await bareCompile(
    record.units.map(({ path }) => path),
    patches,
    { tree: session.tree, cache: session.cache, scratch: join(output, "scratch"), jobs: compilers },
  );
  return { ...record, bareMilliseconds };
}

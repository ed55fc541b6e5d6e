import { join } from "node:path";
import { build } from "../../src/build/build.ts";
import type { BuildResult } from "../../src/build/build-types.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import type { UnitCache } from "../../src/kernel/tree/compile.ts";
import { exists, sha256, writeFileAtomically } from "../../src/support/cache.ts";
import { KmendError, messageOf } from "../../src/support/errors.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { type Corpus, type Fix, isWholeFile } from "./corpus.ts";
import type { Joiner } from "./join.ts";
import type { FixRecord } from "./records.ts";

/** What all fixes of a run share. */
export interface FixContext {
  /** Opened once for all of them. */
  readonly kernel: TargetKernel;
  readonly corpus: Corpus;
  /** Knows all that differs, which takes memory: it is made for the first patch that has to be joined. */
  readonly joiner: () => Promise<Joiner>;
  readonly cache: UnitCache;
  /** Gets the modules. */
  readonly output: string;
  /** Compilers at once for one fix. */
  readonly jobs: number;
  /** How many units a joined patch may touch. */
  readonly maxUnits: number;
  readonly timeoutSeconds: number;
  /** Rewrite what would be refused for its data. */
  readonly adapt?: boolean | undefined;
  /** Joined patches that are already a case: their files, to the id of that case. */
  readonly joined: Map<string, string>;
}

/** How often more is added, and how many files a joined patch may have. */
const joinRounds = 8;
const joinFiles = 12;

/** Name of a fix's module: short, and the same for every run. */
export function moduleNameOf(id: string): string {
  return `fix-${sha256(id).slice(0, 12)}`;
}

/** Builds one fix as it is. Nothing is thrown. */
export async function runFix(fix: Fix, context: FixContext): Promise<FixRecord> {
  const record = await buildOnce(fix, [fix.path], [fix.patch], context);
  // A function group needs the rest of its file first, and that patch is a case of its own.
  if (!isWholeFile(fix) && record.outcome === "incomplete") {
    return { ...record, outcome: "joined", joinedAs: fix.path };
  }
  return record;
}

/** True for a fix that did not become a module for want of other files, and that nobody has tried to join with them yet. */
export function mayBeJoined({ id, outcome, refusals, files, hasEnded }: FixRecord): boolean {
  if (id.includes("#") || files.length > 1 || hasEnded === true) return false;
  return outcome === "incomplete" || refusals.some(({ code }) => code === "MISSING_SYMBOL");
}

/** Builds a fix together with the files that it needs, as far as the compiler's words tell them. Nothing is thrown. */
export async function joinFix(fix: Fix, alone: FixRecord, context: FixContext): Promise<FixRecord> {
  let attempt = alone;
  for (let round = 0; ; round++) {
    const files = await neededFiles(attempt, fix.path, context);
    if (files === undefined) return { ...attempt, hasEnded: true };
    if (files.join(" ") === [...attempt.files].sort().join(" ") || round === joinRounds || files.length > joinFiles) {
      return attempt.outcome === "refused" ? { ...attempt, hasEnded: true } : incomplete(alone, attempt, files);
    }
    const known = context.joined.get(files.join(" "));
    if (known !== undefined && known !== fix.id) return { ...alone, outcome: "joined", joinedAs: known };
    context.joined.set(files.join(" "), fix.id);
    const patches = await Promise.all(files.map((part) => patchFile(part, context)));
    attempt = await buildOnce(fix, files, patches, context);
  }
}

/** The error of the patch by itself, and a note on how far joining came. */
function incomplete(first: FixRecord, last: FixRecord, joined: readonly string[]): FixRecord {
  const why = last === first ? "" : ` ${last.error?.code ?? ""}: ${last.error?.message ?? ""}`;
  return {
    ...first,
    outcome: "incomplete",
    hasEnded: true,
    notes: [...first.notes, `joining ended with ${joined.join(" ")}${why}`],
  };
}

/** @returns undefined when the outcome stands; else the parts of the patch that may make it whole, those that it has among them. */
async function neededFiles(
  attempt: FixRecord,
  home: string,
  { joiner }: FixContext,
): Promise<readonly string[] | undefined> {
  const { error, refusals, files } = attempt;
  if (attempt.outcome === "incomplete")
    return error?.code === "COMPILE_FAILED" ? (await joiner()).forErrors(error.why, files, home) : files;
  const missing = refusals.filter(({ code }) => code === "MISSING_SYMBOL").map(({ what }) => what);
  if (missing.length === 0) return undefined;
  const more = (await joiner()).forSymbols(missing, files, home);
  return more.length === files.length && more.every((part) => files.includes(part)) ? undefined : more;
}

/** Patch file of one part of a joined patch. */
export async function patchFile(part: string, { corpus, joiner, output }: FixContext): Promise<string> {
  if (!part.includes("#")) return corpus.patches.get(part) as string;
  const path = join(output, "parts", `${sha256(part).slice(0, 16)}.patch`);
  await writeFileAtomically(path, Buffer.from(await (await joiner()).patch(part), "latin1"));
  return path;
}

async function buildOnce(
  fix: Fix,
  files: readonly string[],
  patches: readonly string[],
  context: FixContext,
): Promise<FixRecord> {
  const progress = new SilentProgress();
  const started = performance.now();
  const warm = await hasOriginal(files, context.cache);
  const common = { id: fix.id, files, warm };
  try {
    const result = await build({
      patches,
      target: context.kernel,
      output: context.output,
      name: moduleNameOf(fix.id),
      jobs: context.jobs,
      maxUnits: files.length > 1 ? context.maxUnits : undefined,
      adapt: context.adapt,
      progress,
      signal: AbortSignal.timeout(context.timeoutSeconds * 1000),
    });
    return { ...common, ...described(result), residentMegabytes: residentMegabytes() };
  } catch (error) {
    const code = error instanceof KmendError ? error.code : "CRASH";
    const why = error instanceof KmendError ? (error.why ?? "") : String(error instanceof Error ? error.stack : error);
    const isIncomplete = code === "COMPILE_FAILED" || code === "TOO_MANY_UNITS";
    return {
      ...common,
      outcome: isIncomplete ? "incomplete" : "failed",
      error: { code, message: messageOf(error), why },
      refusals: [],
      functions: [],
      units: [],
      notes: progress.notes,
      milliseconds: { total: Math.round(performance.now() - started), ...progress.milliseconds },
      residentMegabytes: residentMegabytes(),
    };
  }
}

function described(
  result: BuildResult,
): Pick<FixRecord, "outcome" | "refusals" | "functions" | "units" | "notes" | "module" | "milliseconds" | "adapted"> {
  const { module, refusals, units, notes, milliseconds } = result;
  const isNotBuilt = result.outcome === "unchanged" && units.length === 0;
  return {
    outcome: isNotBuilt ? "not-built" : result.outcome,
    refusals,
    functions: result.functions.map(({ object, name, change }) => `${object} ${change === "new" ? "+" : ""}${name}`),
    units,
    notes,
    milliseconds,
    ...(result.adapted === undefined ? {} : { adapted: true }),
    ...(module === null ? {} : { module: { name: module.name, sha256: module.sha256, bytes: module.bytes } }),
  };
}

async function hasOriginal(files: readonly string[], cache: UnitCache): Promise<boolean> {
  for (const part of files) {
    const command = await cache.command(part.replace(/#.*$/, ""));
    if (command !== undefined && (await exists(cache.objectPath(command)))) return true;
  }
  return false;
}

function residentMegabytes(): number {
  return Math.round(process.memoryUsage.rss() / 2 ** 20);
}

/** Path of a fix's module. */
export function modulePath(id: string, output: string): string {
  return join(output, `${moduleNameOf(id)}.ko`);
}

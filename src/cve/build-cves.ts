import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { build } from "../build/build.ts";
import type { BuildRequest } from "../build/build-facts.ts";
import type { BuildResult } from "../build/build-types.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import type { PreparedTree } from "../kernel/tree/prepare.ts";
import { writeFileAtomically } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { makeFolder } from "../support/make-folder.ts";
import type { Progress } from "../support/progress.ts";
import type { ChosenFix } from "./chosen-fixes.ts";
import { compareIds } from "./cve-data.ts";
import type { FixSource } from "./fix-sources.ts";
import { applyInOrder, type PreparedFix, prepareFix, withPrerequisites } from "./prepared-fixes.ts";
import { silentFixes } from "./silent-fixes.ts";

/** What became of one vulnerability. */
export interface CveOutcome {
  readonly id: string;
  /** Full object name of its fix; null where the records name none. */
  readonly commit: string | null;
  /**
   * `built`: its fix is in the module, or could be (`--plan`). `refused`: it cannot be live patched as it is, for the reasons in `codes`.
   * `unchanged`: this kernel builds nothing that it changes. `fixed`: the source has it. `needs a person`: it does not apply, compile or arrive.
   */
  readonly outcome: "built" | "unchanged" | "refused" | "fixed" | "needs a person";
  /** Codes of refusals or of the error. */
  readonly codes: readonly string[];
  /** The first reason in a sentence; empty for what is built. */
  readonly why: string;
  readonly hint: string;
}

/** The stable `--json` of `kmend build --cve`: that of a build, with what became of each vulnerability. */
export interface CveBuildResult extends BuildResult {
  readonly cves: readonly CveOutcome[];
}

/** What is built, and how. */
export interface CveBuildRequest {
  readonly kernel: TargetKernel;
  /** Version of the kernel, as its tag is named without `v`. */
  readonly version: string;
  readonly tree: PreparedTree;
  readonly source: FixSource;
  /** Commits that are to be applied as well, before or between the fixes by their history. */
  readonly with: readonly string[];
  readonly options: Omit<BuildRequest, "patches" | "target" | "cves">;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Builds one module of several fixes; all of them go in, or none.
 * @throws KmendError of the first that does not apply, with the commits that it rests on.
 */
export async function buildFixes(fixes: readonly ChosenFix[], request: CveBuildRequest): Promise<CveBuildResult> {
  return inFolder(async (folder) => {
    const prepared = await prepareAll(fixes, request, folder);
    const { misfits } = await applyInOrder(prepared, request.tree.path, join(folder, "applied"));
    const [first] = misfits;
    if (first !== undefined) throw await withPrerequisites(first.error, first.fix, request.source, request.version);
    const trial = { ...request, options: { ...request.options, output: folder } };
    const tried = await buildPrepared(prepared, trial);
    if (tried.outcome === "built")
      await requireAllInIt(blame(prepared, { outcome: "built", result: tried }), request, folder);
    const result = await keep(tried, request.options.output ?? ".");
    const codes = [...new Set(result.refusals.map(({ code }) => code))];
    const [reason] = result.refusals;
    const outcome: CveOutcome["outcome"] =
      result.outcome === "built" || result.outcome === "unchanged" ? result.outcome : "refused";
    const notes = [...leftOutNotes(prepared), ...result.notes];
    const why = reason === undefined ? "" : `${reason.what}: ${reason.why}`;
    const cves = fixes.flatMap(({ commit, cves: ids }) =>
      ids.map((id) => ({ id, commit, outcome, codes, why, hint: reason?.hint ?? "" })),
    );
    return { ...result, notes, cves };
  });
}

/**
 * A module names no vulnerability of which nothing is in it.
 * @param silent fixes of which no function can be told to be in the module; by a header they may be.
 * @throws KmendError `CVE_CHANGES_NOTHING` (exit 3)
 */
async function requireAllInIt(silent: readonly PreparedFix[], request: CveBuildRequest, folder: string): Promise<void> {
  const empty: PreparedFix[] = [];
  for (const fix of silent) if ((await aloneOutcome(fix, request, folder)).outcome !== "built") empty.push(fix);
  if (empty.length === 0) return;
  const ids = empty.flatMap(({ cves }) => cves);
  throw new KmendError({
    code: "CVE_CHANGES_NOTHING",
    message: `no code of this kernel changes with the fix of ${ids.join(", ")}`,
    why: "the module would claim a fix that it does not contain",
    hint: `leave it out; kmend cves --file ${empty[0]?.patch.files[0] ?? ""} shows how it stands here`,
    exitCode: ExitCode.unchanged,
  });
}

/**
 * Builds one module of all fixes that can be built; each is in it whole, or not at all and told with its reason.
 * @returns outcome `built` when at least one is in the module.
 */
export async function buildAllThatCanBe(
  fixes: readonly ChosenFix[],
  request: CveBuildRequest,
): Promise<CveBuildResult> {
  return inFolder(async (folder) => {
    const outcomes = new Map<string, Omit<CveOutcome, "id">>();
    const tell = (fix: ChosenFix, outcome: Omit<CveOutcome, "id" | "commit">): void => {
      for (const id of fix.cves) outcomes.set(id, { commit: fix.commit, ...outcome });
    };
    const arrived: PreparedFix[] = [];
    for (const fix of await ordered(fixes, request)) {
      try {
        arrived.push(await prepareFix(fix, request.source, folder));
      } catch (error) {
        tell(fix, outcomeOfError(requireExpected(error)));
      }
    }
    let left = arrived;
    let result: BuildResult | undefined;
    const trial = { ...request, options: { ...request.options, output: folder } };
    for (let round = 0; left.some(({ cves }) => cves.length > 0); round++) {
      const { fits, misfits } = await applyInOrder(left, request.tree.path, join(folder, `applied-${round}`));
      for (const { fix, error } of misfits)
        tell(fix, outcomeOfError(await withPrerequisites(error, fix, request.source, request.version)));
      left = [...fits];
      if (left.length === 0) break;
      const attempt = await attemptBuild(left, trial);
      const blamed = blame(left, attempt);
      if (attempt.result?.outcome === "built" && blamed.length === 0) {
        result = await keep(attempt.result, request.options.output ?? ".");
        for (const fix of left) tell(fix, { outcome: "built", codes: [], why: "", hint: "" });
        break;
      }
      const dropped = await dropFrom(left, blamed, attempt, request, folder);
      for (const [fix, outcome] of dropped) tell(fix, outcome);
      left = left.filter((fix) => !dropped.has(fix));
    }
    const cves = [...outcomes].map(([id, outcome]) => ({ id, ...outcome })).sort((a, b) => compareIds(a.id, b.id));
    return { ...(result ?? nothing(request, cves)), cves };
  });
}

/** Moves a module that was made in a private folder to where the user wants it. */
async function keep(result: BuildResult, output: string): Promise<BuildResult> {
  if (result.module === null) return result;
  const path = join(resolve(output), basename(result.module.path));
  await writeFileAtomically(path, await readFile(result.module.path));
  return { ...result, module: { ...result.module, path } };
}

/** Builds each fix by itself into a folder that is thrown away: what could be closed, and what not. */
export async function planFixes(fixes: readonly ChosenFix[], request: CveBuildRequest): Promise<CveOutcome[]> {
  return inFolder(async (folder) => {
    const outcomes: CveOutcome[] = [];
    for (const [number, fix] of fixes.entries()) {
      request.progress.note(`${number + 1} of ${fixes.length}: ${fix.cves.join(", ")}`);
      const outcome = await planOne(fix, request, join(folder, String(number)));
      for (const id of fix.cves) outcomes.push({ id, commit: fix.commit, ...outcome });
    }
    return outcomes;
  });
}

async function planOne(
  fix: ChosenFix,
  request: CveBuildRequest,
  folder: string,
): Promise<Omit<CveOutcome, "id" | "commit">> {
  try {
    const prepared = await prepareFix(fix, request.source, folder);
    return await aloneOutcome(prepared, request, folder);
  } catch (error) {
    return outcomeOfError(requireExpected(error));
  }
}

/** What becomes of a fix without the others. */
async function aloneOutcome(
  fix: PreparedFix,
  request: CveBuildRequest,
  folder: string,
): Promise<Omit<CveOutcome, "id" | "commit">> {
  const output = join(folder, `alone-${fix.commit.slice(0, 12)}`);
  await makeFolder(output);
  const { misfits } = await applyInOrder([fix], request.tree.path, join(output, "applied"));
  const [misfit] = misfits;
  if (misfit !== undefined)
    return outcomeOfError(await withPrerequisites(misfit.error, fix, request.source, request.version));
  const attempt = await attemptBuild([fix], { ...request, options: { ...request.options, output } });
  return outcomeOf(attempt);
}

/** A build that may end in an error which says something about the fixes. */
interface Attempt {
  readonly outcome: "built" | "unchanged" | "refused" | "error";
  readonly result?: BuildResult;
  readonly error?: KmendError;
}

async function attemptBuild(fixes: readonly PreparedFix[], request: CveBuildRequest): Promise<Attempt> {
  try {
    const result = await buildPrepared(fixes, request);
    return { outcome: result.outcome === "failed" ? "error" : result.outcome, result };
  } catch (error) {
    const expected = requireExpected(error);
    return { outcome: expected.exitCode === ExitCode.refused ? "refused" : "error", error: expected };
  }
}

function buildPrepared(fixes: readonly PreparedFix[], request: CveBuildRequest): Promise<BuildResult> {
  const cves = [...new Set(fixes.flatMap((fix) => fix.cves))].sort(compareIds);
  const { options, kernel: target, progress, signal } = request;
  const [first] = cves;
  const name =
    options.name ?? (cves.length === 1 && first !== undefined ? `livepatch-${first.toLowerCase()}` : "livepatch-cves");
  return build({ ...options, name, target, cves, patches: fixes.map(({ path }) => path), progress, signal });
}

/** Those whose files the reasons name; all of them when the reasons name none. */
function blame(fixes: readonly PreparedFix[], { outcome, result, error }: Attempt): readonly PreparedFix[] {
  if (outcome === "built" && result !== undefined) {
    const named = fixes.map((fix) => ({ fix, cves: fix.cves, files: fix.patch.files }));
    return silentFixes(named, result.functions).map(({ fix }) => fix);
  }
  const texts = [
    ...(result?.refusals ?? []).flatMap(({ unit, where, what }) => [unit ?? "", where, what]),
    ...(error === undefined ? [] : [error.where ?? "", error.message, error.why ?? ""]),
  ];
  const named = fixes.filter(({ patch }) => patch.files.some((file) => texts.some((text) => text.includes(file))));
  return named.length > 0 ? named : fixes;
}

/** Decides which of the blamed fixes are left out: one alone at once, else those that cannot be built by themselves, else all of them. */
async function dropFrom(
  fixes: readonly PreparedFix[],
  blamed: readonly PreparedFix[],
  attempt: Attempt,
  request: CveBuildRequest,
  folder: string,
): Promise<Map<PreparedFix, Omit<CveOutcome, "id" | "commit">>> {
  const [only] = blamed;
  if (blamed.length === 1 && only !== undefined && attempt.outcome !== "built" && fixes.length === 1)
    return new Map([[only, outcomeOf(attempt)]]);
  const alone = new Map<PreparedFix, Omit<CveOutcome, "id" | "commit">>();
  for (const fix of blamed) {
    const outcome = await aloneOutcome(fix, request, folder);
    if (outcome.outcome !== "built") alone.set(fix, outcome);
  }
  if (alone.size > 0) return alone;
  // By themselves they are fine: it is their meeting that is not. What was built without a function of theirs is in it by a header.
  if (attempt.outcome === "built") return new Map(blamed.map((fix) => [fix, unsure]));
  return new Map(blamed.map((fix) => [fix, outcomeOf(attempt)]));
}

/** Said of a fix that builds alone, and leaves no trace in the module of all. */
const unsure: Omit<CveOutcome, "id" | "commit"> = {
  outcome: "needs a person",
  codes: ["NO_FUNCTION"],
  why: "built by itself it changes functions, and built with the others none that can be told to be its own",
  hint: "build it alone",
};

function outcomeOf({ outcome, result, error }: Attempt): Omit<CveOutcome, "id" | "commit"> {
  if (error !== undefined) return outcomeOfError(error);
  if (outcome === "built") return { outcome, codes: [], why: "", hint: "" };
  const [first] = result?.refusals ?? [];
  if (outcome === "unchanged" || first === undefined)
    return { outcome: "unchanged", codes: [], why: "no code of this kernel differs with it", hint: "" };
  const codes = [...new Set((result?.refusals ?? []).map(({ code }) => code))];
  return { outcome: "refused", codes, why: `${first.what}: ${first.why}`, hint: first.hint };
}

function outcomeOfError({ code, message, where, why, hint, exitCode }: KmendError): Omit<CveOutcome, "id" | "commit"> {
  const outcome =
    code === "PATCH_REVERSED"
      ? "fixed"
      : exitCode === ExitCode.unchanged
        ? "unchanged"
        : exitCode === ExitCode.refused
          ? "refused"
          : "needs a person";
  const place = where === undefined ? "" : ` (${where})`;
  return { outcome, codes: [code], why: `${message}${place}${why === undefined ? "" : `: ${why}`}`, hint: hint ?? "" };
}

/** What is wrong with the machine stops everything. */
function requireExpected(error: unknown): KmendError {
  if (error instanceof KmendError && error.exitCode !== ExitCode.environment && error.exitCode !== ExitCode.interrupted)
    if (error.code !== "NO_SPACE" && error.code !== "NOT_WRITABLE") return error;
  throw error;
}

async function prepareAll(
  fixes: readonly ChosenFix[],
  request: CveBuildRequest,
  folder: string,
): Promise<PreparedFix[]> {
  const all: PreparedFix[] = [];
  for (const fix of await ordered(fixes, request)) all.push(await prepareFix(fix, request.source, folder));
  return all;
}

/** The fixes, and what they rest on, in the order of the series. */
async function ordered(fixes: readonly ChosenFix[], request: CveBuildRequest): Promise<ChosenFix[]> {
  const cvesOf = new Map(fixes.map(({ commit, cves }) => [commit, cves]));
  const commits = [...new Set([...request.with, ...fixes.map(({ commit }) => commit)])];
  const sorted = await request.source.inOrder(commits, request.version);
  return sorted.map((commit) => ({ commit, cves: cvesOf.get(commit) ?? [] }));
}

function leftOutNotes(fixes: readonly PreparedFix[]): string[] {
  return fixes.flatMap(({ cves, commit, patch: { leftOut } }) =>
    leftOut.length === 0
      ? []
      : [`${cves[0] ?? commit}: left out, since no unit of a kernel sees them: ${leftOut.join(", ")}`],
  );
}

function nothing({ kernel, progress }: CveBuildRequest, cves: readonly CveOutcome[]): BuildResult {
  const isRefused = cves.some(({ outcome }) => outcome === "refused" || outcome === "needs a person");
  return {
    schema: 1,
    outcome: isRefused ? "refused" : "unchanged",
    kernel: { release: kernel.release, buildId: kernel.buildId },
    ...{ module: null, functions: [], refusals: [], units: [], symbols: [], notes: [], warnings: [] },
    milliseconds: progress.milliseconds,
  };
}

async function inFolder<Result>(work: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), "kmend-cves-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

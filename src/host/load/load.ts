import { resolve } from "node:path";
import { exists } from "../../support/cache.ts";
import { ExitCode, KmendError, messageOf } from "../../support/errors.ts";
import { type Progress, SilentProgress } from "../../support/progress.ts";
import { guardByHand, type LoadGuard } from "../boot/boot-guard.ts";
import { findInstalled, installedModules } from "../installed/installed.ts";
import { withHostLock } from "../installed/records.ts";
import { type Host, thisHost } from "../kernel/host.ts";
import { Steps } from "../kernel/steps.ts";
import { waitUntilIdle } from "./idle.ts";
import { type LoadedOutcome, loadModule, unloadLeftovers } from "./load-module.ts";
import type { LoadedModule } from "./loaded-module.ts";
import { type PatchFile, readPatchFile } from "./patch-file.ts";
import { preflight } from "./preflight.ts";

/** What all that changes the system can be told. */
export interface ChangeOptions {
  /** Default: this system. */
  readonly host?: Host | undefined;
  /** Seconds for a transition before its tasks are signalled, and again after that; default 60. */
  readonly timeoutSeconds?: number | undefined;
  /** Only tell the steps. */
  readonly dryRun?: boolean | undefined;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What {@link load} is asked to do. */
export interface LoadOptions extends ChangeOptions {
  /** Files, or names of installed modules; a file comes first where both are there. */
  readonly operands?: readonly string[] | undefined;
  /** All modules that are installed for the running kernel, in the order of their installation. One that fails does not keep the others out. */
  readonly all?: boolean | undefined;
  /** First wait, as long as for a transition, until no task is in a function that the patch changes; else load nothing. */
  readonly whenIdle?: boolean | undefined;
  /** What is done around each load; default is what a load by hand needs. */
  readonly guard?: LoadGuard | undefined;
}

/** The stable `--json` of `kmend load` and `kmend replace`. */
export interface LoadResult {
  readonly schema: 1;
  readonly outcome: "done" | "refused" | "stalled" | "failed";
  readonly dryRun: boolean;
  /** Commands and writes in their order: what was done, or with `dryRun` what would be. */
  readonly steps: readonly string[];
  readonly modules: readonly LoadedModule[];
}

/**
 * Loads patch modules and waits until each is in force. A module whose transition stalls is taken back and unloaded again, as is one whose load is
 * interrupted.
 * @throws KmendError `USAGE`, `NOT_ROOT`, `NOT_A_PATCH_MODULE`, `INTERRUPTED`
 */
export async function load(options: LoadOptions): Promise<LoadResult> {
  return loadFiles(options, options.all === true ? "boot" : "load");
}

/** {@link load} of one module that replaces all others. */
export async function replace(options: Omit<LoadOptions, "all">): Promise<LoadResult> {
  return loadFiles(options, "replace");
}

async function loadFiles(options: LoadOptions, intent: "load" | "replace" | "boot"): Promise<LoadResult> {
  const host = options.host ?? thisHost();
  const progress = options.progress ?? new SilentProgress();
  const dryRun = options.dryRun === true;
  requireRoot(host, dryRun);
  const steps = new Steps(dryRun);
  const guard = options.guard ?? guardByHand(host);
  const work = async (): Promise<LoadResult> => {
    const modules: LoadedModule[] = [];
    for (const source of await sourcesOf(host, options)) {
      if (options.signal?.aborted === true) throw interrupted();
      modules.push(await loadOne(host, source, intent, steps, { ...options, guard, progress }));
    }
    return summary(modules, dryRun, steps.texts);
  };
  if (dryRun) return work();
  return withHostLock(host.root, work, {
    onWait: (owner) => progress.note(`waiting for another kmend (process ${owner})`),
    signal: options.signal,
  });
}

/** A module to load, or why its file cannot be. */
type Source = PatchFile | { readonly path: string; readonly problem: string };

async function sourcesOf(host: Host, options: LoadOptions): Promise<readonly Source[]> {
  if (options.all === true) {
    const installed = await installedModules(host.root, host.release);
    return installed.map(({ module, path, problem }) => module ?? { path, problem: problem ?? "it cannot be read" });
  }
  const sources: PatchFile[] = [];
  for (const operand of options.operands ?? []) sources.push(await openOperand(host, operand));
  return sources;
}

/**
 * The patch module that an operand stands for: a file, or else an installed module of the running kernel.
 * @throws KmendError `NO_SUCH_MODULE` (exit 2), `NOT_A_PATCH_MODULE`
 */
export async function openOperand(host: Pick<Host, "root" | "release">, operand: string): Promise<PatchFile> {
  if (await exists(operand)) return readPatchFile(resolve(operand));
  const installed = operand.includes("/") ? undefined : await findInstalled(host.root, host.release, operand);
  if (installed !== undefined) return installed.module ?? readPatchFile(installed.path);
  throw new KmendError({
    code: "NO_SUCH_MODULE",
    message: `there is neither a file nor an installed patch module ${operand}`,
    hint: `kmend list shows what is installed for ${host.release}`,
    exitCode: ExitCode.usage,
  });
}

async function loadOne(
  host: Host,
  source: Source,
  intent: "load" | "replace" | "boot",
  steps: Steps,
  options: Pick<LoadOptions, "whenIdle"> & ChangeOptions & { readonly progress: Progress; readonly guard: LoadGuard },
): Promise<LoadedModule> {
  if ("problem" in source) {
    const error = { code: "NOT_A_PATCH_MODULE", message: source.problem, why: "", hint: "kmend uninstall removes it" };
    return { ...blank(source.path.replace(/^.*\//, ""), source.path), outcome: "failed", error };
  }
  const found = await preflight(host, source, { intent });
  const base = { ...blank(source.name, source.path), notes: found.notes };
  if (found.refusals.length > 0) return { ...base, outcome: "refused", refusals: found.refusals };
  const { guard } = options;
  if (found.presence === "loaded") {
    const { replaced, notes } = await unloadLeftovers(host, source, steps);
    const unguarded = await guardAfter(guard, source, "already", steps);
    return {
      ...base,
      outcome: "already",
      replaced: steps.dryRun ? [] : replaced,
      notes: [...found.notes, ...notes, ...unguarded],
    };
  }
  if (options.whenIdle === true && found.presence !== "loading") {
    const busy = await options.progress.phase(`idle ${source.name}`, `Wait until ${source.name} can go in`, (status) =>
      waitUntilIdle(host, source, steps, { ...options, status }),
    );
    if (busy !== undefined) return { ...base, ...fieldsOf(busy) };
  }
  const against = await guard.before(source, steps);
  if (against.length > 0) return { ...base, outcome: "refused", refusals: against };
  const verb = steps.dryRun ? "Look at" : found.presence === "loading" ? "Wait for" : "Load";
  const outcome = await options.progress
    .phase(`load ${source.name}`, `${verb} ${source.name}`, (status) =>
      loadModule(host, source, found, steps, { ...options, status }),
    )
    .catch(asFailure);
  const fields = fieldsOf(outcome);
  const unguarded = await guardAfter(guard, source, fields.outcome, steps);
  return { ...base, ...fields, notes: [...found.notes, ...outcome.notes, ...unguarded] };
}

/** The module is what it is by now, whether that can be recorded or not. */
async function guardAfter(
  guard: LoadGuard,
  file: PatchFile,
  outcome: LoadedModule["outcome"],
  steps: Steps,
): Promise<readonly string[]> {
  if (steps.dryRun) return [];
  return guard.after(file, outcome).then(
    () => [],
    (error: unknown) => [`the record of its load at boot cannot be changed: ${messageOf(error)}`],
  );
}

function fieldsOf(outcome: LoadedOutcome): Partial<LoadedModule> & Pick<LoadedModule, "outcome"> {
  switch (outcome.kind) {
    case "planned":
      return { outcome: "planned" };
    case "loaded":
      return { outcome: "loaded", milliseconds: outcome.milliseconds, replaced: outcome.replaced };
    case "stalled":
      return { outcome: "stalled", stalledTasks: outcome.tasks, error: detailsOf(outcome.error) };
    case "failed":
      return { outcome: "failed", error: detailsOf(outcome.error) };
    case "interrupted":
      throw interrupted(outcome.notes.join("\n"));
  }
}

/** What goes wrong with one module must not keep the others out. */
function asFailure(error: unknown): LoadedOutcome {
  if (error instanceof KmendError) return { kind: "failed", error, notes: [] };
  throw error;
}

function blank(name: string, file: string): Omit<LoadedModule, "outcome"> {
  return { name, file, milliseconds: null, replaced: [], refusals: [], error: null, stalledTasks: [], notes: [] };
}

/** An error as a part of a result. */
export function detailsOf({ code, message, why = "", hint = "" }: KmendError): NonNullable<LoadedModule["error"]> {
  return { code, message, why, hint };
}

function summary(modules: readonly LoadedModule[], dryRun: boolean, steps: readonly string[]): LoadResult {
  const has = (outcome: LoadedModule["outcome"]): boolean => modules.some((module) => module.outcome === outcome);
  const isForbidden = modules.some(({ error }) => error?.code === "LOAD_FORBIDDEN");
  const outcome = isForbidden
    ? "failed"
    : ((["stalled", "failed", "refused"] as const).find((worse) => has(worse)) ?? "done");
  return { schema: 1, outcome, dryRun, steps, modules };
}

/** Only root may change the system; anybody may look at what would be done. @throws KmendError `NOT_ROOT` (exit 5). */
export function requireRoot(host: Pick<Host, "privileged">, dryRun: boolean): void {
  if (host.privileged || dryRun) return;
  throw new KmendError({
    code: "NOT_ROOT",
    message: "only root may change what is loaded or installed",
    hint: "run it with sudo, or with --dry-run to see the steps",
    exitCode: ExitCode.environment,
  });
}

/** What an interrupt ends with, after everything was taken back. */
export function interrupted(why?: string): KmendError {
  return new KmendError({ code: "INTERRUPTED", message: "interrupted", why, exitCode: ExitCode.interrupted });
}

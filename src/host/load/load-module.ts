import { callbackRefusal } from "../../refusals/callback-refusal.ts";
import { type ErrorDetails, KmendError, messageOf } from "../../support/errors.ts";
import { removeLoadRecord, writeLoadRecord } from "../installed/records.ts";
import type { Host } from "../kernel/host.ts";
import { complaintsAbout, newestLogLine, readKernelLog, transitionStart } from "../kernel/kernel-log.ts";
import { withPrivateCopy } from "../kernel/private-copy.ts";
import type { Steps } from "../kernel/steps.ts";
import {
  isHeldByItself,
  type LoadedPatch,
  livepatchFolder,
  readIdleModules,
  readLoadedPatch,
  readLoadedPatches,
} from "../kernel/sysfs.ts";
import type { PendingTask } from "../kernel/tasks.ts";
import type { PatchFile } from "./patch-file.ts";
import type { Preflight } from "./preflight.ts";
import {
  defaultTimeoutSeconds,
  enabledOrEnabling,
  inTransition,
  setEnabled,
  unloadModule,
  type WaitOptions,
  waitForReversal,
  waitForTransition,
  whoHoldsUp,
} from "./transition.ts";
import { whoLoads } from "./who-loads.ts";

/** How the load of one module ended; notes tell what else the operator should know. */
export type LoadedOutcome = { readonly notes: readonly string[] } & (
  | { readonly kind: "planned" }
  | { readonly kind: "loaded"; readonly milliseconds: number; readonly replaced: readonly string[] }
  | { readonly kind: "stalled"; readonly tasks: readonly PendingTask[]; readonly error: KmendError }
  | { readonly kind: "failed"; readonly error: KmendError }
  | { readonly kind: "interrupted" }
);

/**
 * Loads a module that {@link Preflight} found nothing against, and waits for its transition. When that stalls or is interrupted, the patch is turned
 * round and its module unloaded, so that the system is as before.
 */
export async function loadModule(
  host: Host,
  file: PatchFile,
  found: Preflight,
  steps: Steps,
  options: WaitOptions,
): Promise<LoadedOutcome> {
  const { name, path } = file;
  if (found.presence === "idle") {
    await steps.take(`rmmod ${name}`, async () => {
      if (!(await unloadModule(host, name))) throw stillInUse(name);
    });
  }
  const started = host.now();
  if (found.presence !== "loading") {
    const log = newestLogLine(host.root);
    try {
      await steps.take(`insmod ${path}`, () =>
        withPrivateCopy(host.root, file, (copy) => host.insertModule(copy, path)),
      );
    } catch (error) {
      if (!(error instanceof KmendError)) throw error;
      return { kind: "failed", error: withKernelLog(host, error, name, log), notes: [] };
    }
  }
  tellWait(steps, name, options);
  if (steps.dryRun) {
    for (const other of found.replaces) steps.tell(`rmmod ${other}`);
    return { kind: "planned", notes: [] };
  }
  const patch = await readLoadedPatch(host.root, name);
  if (patch === undefined) {
    await unloadModule(host, name);
    const error = new KmendError({
      code: "NO_PATCH_APPEARED",
      message: `${path} was loaded, but the kernel lists no live patch ${name}`,
      hint: "dmesg shows what the kernel says about it",
    });
    return { kind: "failed", error, notes: ["it was unloaded again"] };
  }
  const end = await waitForTransition(host, name, options);
  if (end === "done") return finish(host, file, found, steps, host.now() - started);
  return takeBack(host, name, steps, options, end);
}

function tellWait(steps: Steps, name: string, { timeoutSeconds = defaultTimeoutSeconds }: WaitOptions): void {
  steps.tell(
    `wait up to ${timeoutSeconds} s for the transition of ${name}, signal its tasks, wait as long again; else echo 0 >${livepatchFolder}/${name}/enabled and rmmod ${name}`,
  );
}

async function finish(
  host: Host,
  file: PatchFile,
  found: Preflight,
  steps: Steps,
  milliseconds: number,
): Promise<LoadedOutcome> {
  const { name } = file;
  const now = await readLoadedPatch(host.root, name);
  if (now === undefined || !enabledOrEnabling(now)) {
    const error = new KmendError({
      code: "TURNED_ROUND",
      message: `${name} was disabled by somebody else while it was loaded`,
      hint: "kmend list shows what is loaded now",
    });
    return { kind: "failed", error, notes: [] };
  }
  const record = { since: new Date().toISOString(), file: file.path, sha256: file.sha256, by: whoLoads() };
  // The patch is in force, whether that can be written down or not.
  const unwritten = await writeLoadRecord(host.root, name, record).then(
    () => [],
    (error: unknown) => [`the time of the load is not remembered: ${messageOf(error)}`],
  );
  const { replaced, notes } = await unloadReplaced(host, found.replaces, steps);
  return { kind: "loaded", milliseconds: Math.round(milliseconds), replaced, notes: [...unwritten, ...notes] };
}

/** Unloads what a cumulative module that is in force had replaced, where the one who loaded it was killed before that. */
export async function unloadLeftovers(
  host: Host,
  file: PatchFile,
  steps: Steps,
): Promise<{ readonly replaced: readonly string[]; readonly notes: readonly string[] }> {
  if (file.manifest?.replace !== true) return { replaced: [], notes: [] };
  // What is in use stays so: tasks were forced out of it.
  const idle = (await readIdleModules(host.root)).filter(({ references }) => references === 0);
  return unloadReplaced(
    host,
    idle.map(({ name }) => name),
    steps,
  );
}

/** Modules whose patches the kernel has put out of force only take room. */
async function unloadReplaced(
  host: Host,
  names: readonly string[],
  steps: Steps,
): Promise<{ readonly replaced: readonly string[]; readonly notes: readonly string[] }> {
  const listed = await stillListed(host, names);
  const idle = new Map((await readIdleModules(host.root)).map((module) => [module.name, module]));
  const replaced: string[] = [];
  const notes: string[] = [];
  for (const name of names) {
    if (listed.has(name)) {
      notes.push(`${name} should have been replaced, but the kernel still lists it`);
      continue;
    }
    replaced.push(name);
    await removeLoadRecord(host.root, name);
    const module = idle.get(name);
    if (module === undefined) continue;
    if (module.staysInMemory === true) {
      notes.push(`${name} is replaced; its module stays in memory until the next boot: addresses of it may be kept`);
      continue;
    }
    await steps.take(`rmmod ${name}`, async () => {
      if (!(await unloadModule(host, name)))
        notes.push(`${name} is replaced, but its module stays in memory: it is in use`);
    });
  }
  return { replaced, notes };
}

/** The kernel takes replaced patches off its list from a work item, a moment after the transition. */
async function stillListed(host: Host, names: readonly string[]): Promise<ReadonlySet<string>> {
  for (let tries = 0; ; tries++) {
    const patches = await readLoadedPatches(host.root);
    const left = new Set(patches.map(({ name }) => name).filter((name) => names.includes(name)));
    if (left.size === 0 || tries >= 40) return left;
    await host.sleep(50);
  }
}

/** Turns a patch round that could not be put in force, and unloads it. */
async function takeBack(
  host: Host,
  name: string,
  steps: Steps,
  options: WaitOptions,
  reason: "stalled" | "interrupted",
): Promise<LoadedOutcome> {
  const stuck = await readLoadedPatch(host.root, name);
  const tasks = stuck === undefined ? [] : whoHoldsUp(host, stuck);
  const since = await transitionStart(host.root, name, true);
  options.status?.(reason === "interrupted" ? "interrupted: taking the patch back" : "taking the patch back");
  await steps.take(`echo 0 >${livepatchFolder}/${name}/enabled`, () => setEnabled(host, name, false));
  const end = await waitForReversal(host, name, options);
  const left = await readLoadedPatch(host.root, name);
  if (end !== "done") return halfway(host, name, left, tasks);
  const isHeld = await isHeldByItself(host.root, name);
  let unloaded = false;
  if (!isHeld)
    await steps.take(`rmmod ${name}`, async () => {
      unloaded = await unloadModule(host, name);
    });
  await removeLoadRecord(host.root, name);
  const notes = [
    unloaded
      ? `${name} was reverted and unloaded: the system is as before`
      : `${name} was reverted, but its module stays in memory: ${isHeld ? "addresses of it may be kept" : "it is in use"}`,
  ];
  if (reason === "interrupted") return { kind: "interrupted", notes };
  return { kind: "stalled", tasks, error: stalledError(name, tasks, options, since), notes };
}

function halfway(
  host: Host,
  name: string,
  patch: LoadedPatch | undefined,
  tasks: readonly PendingTask[],
): LoadedOutcome {
  const holding = patch === undefined || !inTransition(patch) ? tasks : whoHoldsUp(host, patch);
  const error = new KmendError({
    code: "TAKING_BACK_STALLED",
    message: `the transition of ${name} stalls in both directions`,
    why: "some tasks run the new code and others the original; each is consistent in itself",
    hint: `resolve what blocks the tasks that kmend status names; the transition then ends by itself, and kmend unload ${name} removes the module`,
  });
  return { kind: "stalled", tasks: holding, error, notes: [] };
}

function stalledError(
  name: string,
  tasks: readonly PendingTask[],
  options: WaitOptions,
  since: string | null,
): KmendError {
  const seconds = 2 * (options.timeoutSeconds ?? defaultTimeoutSeconds);
  return new KmendError({
    code: "TRANSITION_STALLED",
    message: `the transition of ${name} did not end within ${seconds} s`,
    why: `${tasks.length} task${tasks.length === 1 ? " has" : "s have"} not switched${since === null ? "" : ` since ${since}`}`,
    hint: "resolve what blocks these tasks and load it again, or allow more time with --timeout",
  });
}

function stillInUse(name: string): KmendError {
  return new KmendError({
    code: "MODULE_IN_USE",
    message: `the module ${name} is in memory without its patch, and cannot be unloaded`,
    why: "it is in use; a patch that was forced stays so until the next boot",
    hint: "load a build under another name (kmend build --name), or reboot",
  });
}

function withKernelLog(host: Host, error: KmendError, name: string, after: number): KmendError {
  const said = complaintsAbout(readKernelLog(host.root, after), name);
  if (said.length === 0) return error;
  return (
    refusedByCallback(error, said) ?? new KmendError({ ...detailsWith(error, said), hint: error.hint, cause: error })
  );
}

function detailsWith(error: KmendError, said: readonly string[]): Omit<ErrorDetails, "hint" | "cause"> {
  const { code, message, exitCode } = error;
  return { code, message, why: [error.why, ...said].join("\n"), exitCode };
}

/** The patch said no by itself, which no policy and no other transition has to do with. */
function refusedByCallback(error: KmendError, log: readonly string[]): KmendError | undefined {
  // The program's own words are the last line of the reason.
  const said = (error.why ?? "").split("\n").at(-1) ?? "";
  const refusal = callbackRefusal(log, said);
  if (refusal === undefined) return undefined;
  return new KmendError({
    code: "CALLBACK_REFUSED",
    message: `${error.message}: ${refusal}`,
    why: ["its pre-patch callback returned this error, so nothing was changed", said, ...log].join("\n"),
    hint: "the patch's author knows what the callback waits for; load it again when that is so",
    cause: error,
  });
}

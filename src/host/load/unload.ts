import { join } from "node:path";
import { exists } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { SilentProgress } from "../../support/progress.ts";
import { kernelModuleName } from "../installed/installed.ts";
import { removeLoadRecord, withHostLock } from "../installed/records.ts";
import { type Host, namesIn, readState, readSwitch, thisHost } from "../kernel/host.ts";
import { type HostRefusal, refuseOnHost } from "../kernel/host-refusals.ts";
import { transitionStart } from "../kernel/kernel-log.ts";
import { Steps } from "../kernel/steps.ts";
import {
  isHeldByItself,
  isModuleLoaded,
  type LoadedPatch,
  livepatchFolder,
  readIdleModules,
  readLoadedPatch,
  readLoadedPatches,
} from "../kernel/sysfs.ts";
import { type ChangeOptions, detailsOf, interrupted, requireRoot } from "./load.ts";
import type { LoadedModule } from "./loaded-module.ts";
import { readModuleName } from "./patch-file.ts";
import {
  defaultTimeoutSeconds,
  enabledOrEnabling,
  inTransition,
  setEnabled,
  unloadModule,
  waitForReversal,
  waitForTransition,
  whoHoldsUp,
} from "./transition.ts";

/** What {@link unload} is asked to do. */
export interface UnloadOptions extends ChangeOptions {
  /** Names of loaded patch modules, or files of them. */
  readonly operands?: readonly string[] | undefined;
  /** All that are loaded, and what replaced ones left in memory. */
  readonly all?: boolean | undefined;
}

/** What became of one module. */
export interface UnloadedModule
  extends Pick<LoadedModule, "name" | "milliseconds" | "refusals" | "error" | "stalledTasks" | "notes"> {
  /** `disabled`: out of force, and in memory until the next boot, since addresses of it may be kept; `absent`: nothing of that name is loaded. */
  readonly outcome: "unloaded" | "disabled" | "absent" | "planned" | "refused" | "stalled" | "failed";
}

/** The stable `--json` of `kmend unload`. */
export interface UnloadResult {
  readonly schema: 1;
  readonly outcome: "done" | "unchanged" | "refused" | "stalled" | "failed";
  readonly dryRun: boolean;
  readonly steps: readonly string[];
  readonly modules: readonly UnloadedModule[];
}

/**
 * Takes patch modules out of force and unloads them, the newest first. When a transition stalls or is interrupted, the patch is turned round and stays
 * in force.
 * @throws KmendError `NOT_ROOT`, `INTERRUPTED`
 */
export async function unload(options: UnloadOptions): Promise<UnloadResult> {
  const host = options.host ?? thisHost();
  const dryRun = options.dryRun === true;
  requireRoot(host, dryRun);
  const steps = new Steps(dryRun);
  const progress = options.progress ?? new SilentProgress();
  const work = async (): Promise<UnloadResult> => {
    const modules: UnloadedModule[] = [];
    const gone = new Set<string>();
    for (const name of await namesToUnload(host, options)) {
      if (options.signal?.aborted === true) throw interrupted();
      const result = await progress
        .phase(`unload ${name}`, `${dryRun ? "Look at" : "Unload"} ${name}`, (status) =>
          unloadOne(host, name, gone, steps, { ...options, status }),
        )
        .catch((error: unknown) => failed(name, error));
      if (["unloaded", "disabled", "planned"].includes(result.outcome)) gone.add(name);
      modules.push(result);
    }
    return summary(modules, dryRun, steps.texts);
  };
  if (dryRun) return work();
  return withHostLock(host.root, work, {
    onWait: (owner) => progress.note(`waiting for another kmend (process ${owner})`),
    signal: options.signal,
  });
}

/** Newest first, so that nothing is taken away from below; names that are not loaded come last. */
async function namesToUnload(host: Host, options: UnloadOptions): Promise<readonly string[]> {
  const patches = await readLoadedPatches(host.root);
  const idle = await readIdleModules(host.root);
  const loaded = [...patches.map(({ name }) => name).reverse(), ...idle.map(({ name }) => name).reverse()];
  if (options.all === true) {
    // There is nothing left to do about a module that stays.
    const stay = new Set(idle.flatMap(({ name, staysInMemory }) => (staysInMemory === true ? [name] : [])));
    return loaded.filter((name) => !stay.has(name));
  }
  const wanted = new Set<string>();
  for (const operand of options.operands ?? []) {
    const isFile = operand.includes("/") || (operand.endsWith(".ko") && (await exists(operand)));
    wanted.add(isFile ? await readModuleName(operand) : kernelModuleName(operand));
  }
  const others = [...wanted].filter((name) => !loaded.includes(name));
  return [...loaded.filter((name) => wanted.has(name)), ...others];
}

/** What goes wrong with one module must not keep the others in. */
function failed(name: string, error: unknown): UnloadedModule {
  if (!(error instanceof KmendError) || error.exitCode === ExitCode.interrupted) throw error;
  const rest = { milliseconds: null, refusals: [], stalledTasks: [], notes: [] };
  return { name, outcome: "failed", error: detailsOf(error), ...rest };
}

async function unloadOne(
  host: Host,
  name: string,
  gone: ReadonlySet<string>,
  steps: Steps,
  options: ChangeOptions & { readonly status: (text: string) => void },
): Promise<UnloadedModule> {
  const { root } = host;
  const base = { name, milliseconds: null, refusals: [], error: null, stalledTasks: [], notes: [] };
  const patch = await readLoadedPatch(root, name);
  if (patch === undefined && !(await isModuleLoaded(root, name))) return { ...base, outcome: "absent" };
  const refusals = await reasonsAgainst(host, name, gone, patch !== undefined, steps.dryRun);
  if (refusals.length > 0) return { ...base, outcome: "refused", refusals };
  const started = host.now();
  const seconds = options.timeoutSeconds ?? defaultTimeoutSeconds;
  const folder = join(livepatchFolder, name);
  if (patch !== undefined && enabledOrEnabling(patch)) {
    await steps.take(`echo 0 >${folder}/enabled`, () => setEnabled(host, name, false));
  }
  if (patch !== undefined && (enabledOrEnabling(patch) || inTransition(patch))) {
    steps.tell(
      `wait up to ${seconds} s for the transition of ${name}, signal its tasks, wait as long again; else echo 1 >${folder}/enabled`,
    );
    if (!steps.dryRun) {
      const end = await waitForTransition(host, name, options);
      if (end !== "done") return { ...base, ...(await putBack(host, name, steps, options, end)) };
    }
  }
  if (await isHeldByItself(root, name)) {
    const now = await waitUntilUnlisted(host, name, steps.dryRun);
    if (steps.dryRun) return { ...base, outcome: "planned", notes: [stays(name)] };
    if (now === undefined || !enabledOrEnabling(now)) {
      await removeLoadRecord(root, name);
      const milliseconds = patch === undefined ? null : Math.round(host.now() - started);
      return { ...base, outcome: "disabled", milliseconds, notes: [stays(name)] };
    }
  }
  let unloaded = true;
  await steps.take(`rmmod ${name}`, async () => {
    const now = await readLoadedPatch(root, name);
    unloaded = (now === undefined || now.state === "disabled") && (await unloadModule(host, name));
  });
  if (steps.dryRun) return { ...base, outcome: "planned" };
  const left = await readLoadedPatch(root, name);
  if (left === undefined || !enabledOrEnabling(left)) await removeLoadRecord(root, name);
  const milliseconds = Math.round(host.now() - started);
  if (unloaded) return { ...base, outcome: "unloaded", milliseconds };
  const inForce = left !== undefined && enabledOrEnabling(left);
  const error = {
    code: inForce ? "TURNED_ROUND" : "MODULE_IN_USE",
    message: inForce
      ? `${name} was enabled by somebody else while it was unloaded`
      : `${name} is no longer active, but its module stays in memory`,
    why: inForce ? "" : "it is in use; a patch whose transition was forced stays so until the next boot",
    hint: inForce ? "kmend list shows what is loaded now" : `kmend unload ${name} tries again`,
  };
  return { ...base, outcome: "failed", error, milliseconds };
}

function stays(name: string): string {
  return `${name} stays in memory until the next boot: addresses of it may be kept (kmend info ${name} shows which)`;
}

/** The kernel takes a disabled patch off its list from a work item, a moment after the transition. Returns what is listed after that. */
async function waitUntilUnlisted(host: Host, name: string, dryRun: boolean): Promise<LoadedPatch | undefined> {
  for (let tries = 0; ; tries++) {
    const patch = await readLoadedPatch(host.root, name);
    if (dryRun || patch === undefined || enabledOrEnabling(patch) || tries >= 40) return patch;
    await host.sleep(50);
  }
}

async function reasonsAgainst(
  host: Host,
  name: string,
  gone: ReadonlySet<string>,
  listed: boolean,
  dryRun: boolean,
): Promise<readonly HostRefusal[]> {
  const { root } = host;
  const refusals: HostRefusal[] = [];
  const add = (code: Parameters<typeof refuseOnHost>[0], values: Record<string, string> = {}): void => {
    refusals.push(refuseOnHost(code, name, join("/sys/module", name), values));
  };
  if (!listed && (await readState(root, "/sys/module", name, "taint"))?.includes("K") !== true) {
    add("NO_LIVE_PATCH", { name });
  }
  if ((await readSwitch(root, "/proc/sys/kernel/modules_disabled")) === true) add("LOADING_SWITCHED_OFF");
  for (const patch of await readLoadedPatches(root)) {
    if (patch.name === name || !inTransition(patch)) continue;
    add("TRANSITION_RUNNING", { patch: patch.name, state: patch.state });
  }
  const holders = await namesIn(root, join("/sys/module", name, "holders"));
  // A dry run unloads nothing, so what it would have unloaded before does not count.
  const left = holders.filter((holder) => !(dryRun && gone.has(holder)));
  if (left.length > 0) add("HELD_BY", { holders: left.join(", ") });
  return refusals;
}

/** Puts a patch back in force that could not be taken out. */
async function putBack(
  host: Host,
  name: string,
  steps: Steps,
  options: ChangeOptions & { readonly status: (text: string) => void },
  reason: "stalled" | "interrupted",
): Promise<Pick<UnloadedModule, "outcome" | "stalledTasks" | "error" | "notes">> {
  const stuck = await readLoadedPatch(host.root, name);
  const stalledTasks = stuck === undefined ? [] : whoHoldsUp(host, stuck);
  const since = await transitionStart(host.root, name, false);
  options.status(`${reason === "interrupted" ? "interrupted: " : ""}enabling the patch again`);
  await steps.take(`echo 1 >${livepatchFolder}/${name}/enabled`, () => setEnabled(host, name, true));
  const end = await waitForReversal(host, name, options);
  const now = await readLoadedPatch(host.root, name);
  const whole = end === "done" && now?.state === "enabled";
  const notes = whole ? [`${name} is active as before`] : [];
  if (reason === "interrupted" && whole) throw interrupted(notes.join("\n"));
  const seconds = 2 * (options.timeoutSeconds ?? defaultTimeoutSeconds);
  const error = whole
    ? {
        code: "TRANSITION_STALLED",
        message: `the transition back from ${name} did not end within ${seconds} s`,
        why: `${stalledTasks.length} task${stalledTasks.length === 1 ? " has" : "s have"} not switched${since === null ? "" : ` since ${since}`}`,
        hint: "resolve what blocks these tasks and unload it again, or allow more time with --timeout",
      }
    : {
        code: "TAKING_BACK_STALLED",
        message: `the transition of ${name} stalls in both directions`,
        why: "some tasks run the new code and others the original; each is consistent in itself",
        hint: "resolve what blocks the tasks that kmend status names; the transition then ends by itself",
      };
  const tasks = whole || now === undefined || !inTransition(now) ? stalledTasks : whoHoldsUp(host, now);
  return { outcome: "stalled", stalledTasks: tasks, error, notes };
}

function summary(modules: readonly UnloadedModule[], dryRun: boolean, steps: readonly string[]): UnloadResult {
  const has = (outcome: UnloadedModule["outcome"]): boolean => modules.some((module) => module.outcome === outcome);
  const worst = (["stalled", "failed", "refused"] as const).find((worse) => has(worse));
  const outcome = worst ?? (has("absent") ? "unchanged" : "done");
  return { schema: 1, outcome, dryRun, steps, modules };
}

import type { Manifest } from "../../patch-module/manifest.ts";
import { staysInMemory } from "../../patch-module/manifest-note.ts";
import { findHeldBack, readBootId, readBootRecords } from "../boot/boot-record.ts";
import { type InstalledModule, installedModules, installedReleases } from "../installed/installed.ts";
import { readLoadRecord } from "../installed/records.ts";
import { type Host, thisHost } from "../kernel/host.ts";
import { timeOfLogLine, transitionStart } from "../kernel/kernel-log.ts";
import {
  hasLivepatch,
  type IdleModule,
  type LoadedPatch,
  type PatchState,
  readIdleModules,
  readLoadedPatches,
} from "../kernel/sysfs.ts";
import { countTasks, type PendingTask } from "../kernel/tasks.ts";
import { enabledOrEnabling, inTransition, whoHoldsUp } from "../load/transition.ts";
import { type StopStatus, stopStatus } from "../stop/stop-status.ts";

/** A function of a loaded patch. */
export interface FunctionStatus {
  readonly name: string;
  readonly object: string;
  /** Which of several functions of that name, from 1. */
  readonly sympos: number;
  /** `patched`: this patch's version runs; `covered`: a patch that was loaded later has its own; `waiting`: its module is not loaded; `off`: the patch is not in force. */
  readonly state: "patched" | "covered" | "waiting" | "off";
}

/** A live patch that the kernel lists. */
export interface PatchStatus {
  readonly name: string;
  readonly state: PatchState;
  /** When it was put in force, as ISO 8601 in UTC; null when neither kmend nor the kernel log knows. */
  readonly since: string | null;
  readonly replace: boolean | null;
  readonly functions: readonly FunctionStatus[];
  readonly references: number | null;
  /** It holds itself in memory until the next boot, since addresses of it may be kept. */
  readonly staysInMemory?: true;
  /** The patches that it was made from; empty for a module that kmend did not make. */
  readonly patches: readonly string[];
  /** Vulnerabilities that it fixes, by their numbers; a stop fixes none. */
  readonly cves: readonly string[];
  /** What is wrong with the manifest in the loaded module; null when nothing is. */
  readonly problem: string | null;
  /** For a module of `kmend stop`: why, by whom, until when, how often; null for all others. */
  readonly stop: StopStatus | null;
}

/** An installed module. */
export interface InstalledStatus {
  readonly release: string;
  readonly name: string;
  readonly file: string;
  /** As ISO 8601 in UTC. */
  readonly installedAt: string;
  /**
   * For the running kernel: `in force`, `covered` when a cumulative one that came later changes all of its functions, or `not loaded`; for another kernel
   * `other kernel`; `held back` when it is not loaded at boot, since the machine died when it was; `damaged` when it is no patch module.
   */
  readonly state: "in force" | "covered" | "held back" | "not loaded" | "other kernel" | "damaged";
  /** Vulnerabilities that it fixes, by their numbers. */
  readonly cves: readonly string[];
  /** Why it is damaged or held back. */
  readonly problem: string | null;
  /** What would help against the problem. */
  readonly hint: string | null;
}

/** A running transition. */
export interface TransitionStatus {
  readonly name: string;
  readonly state: PatchState;
  /** When it began; null when the kernel log does not tell. */
  readonly since: string | null;
  /** Null when the tasks cannot be read, as by anybody but root. */
  readonly pending: number | null;
  readonly total: number | null;
  readonly tasks: readonly PendingTask[];
}

/** The stable `--json` of `kmend list` and `kmend status`. */
export interface HostStatus {
  readonly schema: 1;
  readonly kernel: string;
  readonly livepatch: boolean;
  readonly loaded: readonly PatchStatus[];
  /** Modules that are in memory without their patch: replaced, or taken back. */
  readonly idle: readonly IdleModule[];
  readonly installed: readonly InstalledStatus[];
  readonly transition: TransitionStatus | null;
}

/** All that the system shows of live patches, as far as the kernel lets this process see it. */
export async function readHostStatus(host: Host = thisHost()): Promise<HostStatus> {
  const { root } = host;
  const patches = await readLoadedPatches(root);
  const moving = patches.find(inTransition);
  return {
    schema: 1,
    kernel: host.release,
    livepatch: await hasLivepatch(root),
    loaded: await Promise.all(patches.map((patch, place) => patchStatus(root, patch, patches.slice(place + 1)))),
    idle: await readIdleModules(root),
    installed: await installedStatus(host, patches),
    transition: moving === undefined ? null : await transitionStatus(host, moving),
  };
}

async function patchStatus(root: string, patch: LoadedPatch, later: readonly LoadedPatch[]): Promise<PatchStatus> {
  const above = new Set(later.filter(enabledOrEnabling).flatMap(functionKeys));
  const functions = patch.objects.flatMap(({ name: object, patched, functions }) =>
    functions.map(({ name, sympos }) => {
      const state = !enabledOrEnabling(patch)
        ? "off"
        : patched === false
          ? "waiting"
          : above.has(keyOf(object, name, sympos))
            ? "covered"
            : "patched";
      return { name, object, sympos, state } as const;
    }),
  );
  const { name, state, replace, references } = patch;
  return {
    name,
    state,
    since: await sinceOf(root, name),
    replace,
    functions,
    references,
    ...(staysInMemory(patch.manifest ?? undefined) ? { staysInMemory: true } : {}),
    patches: patch.manifest?.patches.map((source) => source.name) ?? [],
    cves: fixedBy(patch.manifest),
    problem: patch.problem,
    stop: await stopStatus(root, name, patch.manifest),
  };
}

/** What a module fixes; a stop only closes the way to it. */
function fixedBy(manifest: Manifest | null): readonly string[] {
  return manifest?.stop === undefined ? (manifest?.cves ?? []) : [];
}

function keyOf(object: string, name: string, sympos: number): string {
  return `${object} ${name} ${Math.max(1, sympos)}`;
}

function functionKeys(patch: LoadedPatch): string[] {
  return patch.objects.flatMap(({ name: object, functions }) =>
    functions.map(({ name, sympos }) => keyOf(object, name, sympos)),
  );
}

async function sinceOf(root: string, name: string): Promise<string | null> {
  return (
    (await readLoadRecord(root, name))?.since ?? (await timeOfLogLine(root, `livepatch: '${name}': patching complete`))
  );
}

async function installedStatus(host: Host, patches: readonly LoadedPatch[]): Promise<readonly InstalledStatus[]> {
  const active = patches.filter(({ state }) => state === "enabled");
  const names = new Set(active.map(({ name }) => name));
  const list: InstalledStatus[] = [];
  const boot = await readBootId(host.root);
  for (const release of await installedReleases(host.root)) {
    const modules = await installedModules(host.root, release);
    const records = await readBootRecords(host.root, release);
    const cumulative = release === host.release ? await cumulativePatches(host.root, active, modules) : [];
    for (const entry of modules) {
      const { module, file, problem } = entry;
      const name = module?.name ?? file.replace(/\.ko$/, "");
      const here = release === host.release;
      const cves = fixedBy(module?.manifest ?? null);
      const base = { release, name, file, installedAt: new Date(entry.installedAt).toISOString(), cves };
      const add = (
        state: InstalledStatus["state"],
        problem: string | null = null,
        hint: string | null = null,
      ): void => {
        list.push({ ...base, state, problem, hint });
      };
      const held = module === undefined ? undefined : findHeldBack(records, boot, module);
      if (module === undefined) add("damaged", problem ?? null, `kmend uninstall --kernel ${release} ${name}`);
      else if (here && names.has(name)) add("in force");
      else if (here && cumulative.some((patch) => covers(patch, entry))) add("covered");
      else if (held !== undefined) add("held back", held.why, heldBackHint(entry, name, here));
      else add(here ? "not loaded" : "other kernel");
    }
  }
  return list;
}

/** How a module is let in again. */
function heldBackHint({ release, path }: InstalledModule, name: string, here: boolean): string {
  const again = `kmend install ${here ? "" : `--kernel ${release} `}${path} lets the next boot try it again`;
  return here ? `kmend load ${name} tries it now; ${again}` : again;
}

/** A loaded patch that replaced all before it. */
interface CumulativePatch {
  readonly functions: ReadonlySet<string>;
  /** What was installed before this time, it has replaced; milliseconds since 1970. */
  readonly after: number;
}

async function cumulativePatches(
  root: string,
  active: readonly LoadedPatch[],
  installed: readonly InstalledModule[],
): Promise<readonly CumulativePatch[]> {
  const patches = active.filter(({ replace }) => replace === true);
  return Promise.all(
    patches.map(async (patch) => {
      // Modules are loaded in the order of their installation, so a later one is missing although this one was loaded after its installation.
      const own = installed.find(({ module }) => module?.name === patch.name);
      const since = own?.installedAt ?? Date.parse((await sinceOf(root, patch.name)) ?? "");
      return { functions: new Set(functionKeys(patch)), after: since };
    }),
  );
}

function covers(patch: CumulativePatch, { module, installedAt }: InstalledModule): boolean {
  const functions = module?.manifest?.functions ?? [];
  return (
    functions.length > 0 &&
    installedAt <= patch.after &&
    functions.every(({ object, name, sympos }) => patch.functions.has(keyOf(object, name, sympos)))
  );
}

async function transitionStatus(host: Host, patch: LoadedPatch): Promise<TransitionStatus> {
  const count = countTasks(host.root, patch.state === "enabling");
  return {
    name: patch.name,
    state: patch.state,
    since: await transitionStart(host.root, patch.name, patch.state === "enabling"),
    pending: count?.pending ?? null,
    total: count?.total ?? null,
    tasks: whoHoldsUp(host, patch),
  };
}

/** What `kmend check` asks. */
export type Health =
  | { readonly verdict: "good" }
  /** A transition is not over. */
  | { readonly verdict: "transition"; readonly problems: readonly string[] }
  /** What is installed for this kernel is not in force. */
  | { readonly verdict: "missing"; readonly problems: readonly string[] }
  /** The kernel has no live patching, although there is something to load. */
  | { readonly verdict: "unable"; readonly problems: readonly string[] };

/** Whether all that is installed for the running kernel is in force and no transition is running. */
export function judgeHealth(status: HostStatus): Health {
  const missing = status.installed
    .filter(
      (module) => module.release === status.kernel && ["not loaded", "held back", "damaged"].includes(module.state),
    )
    .map(
      ({ name, state, problem }) =>
        `${name} is installed, but ${state === "held back" ? `held back: ${problem}` : (problem ?? state)}`,
    );
  if (!status.livepatch && missing.length > 0) {
    return { verdict: "unable", problems: [`kernel ${status.kernel} has no live patching`, ...missing] };
  }
  if (status.transition !== null) {
    const { name, state, pending } = status.transition;
    return {
      verdict: "transition",
      problems: [`${name} is ${state}${pending === null ? "" : `, ${pending} tasks left`}`],
    };
  }
  const off = status.loaded
    .filter(({ state }) => state === "disabled")
    .map(({ name }) => `${name} is loaded, but disabled`);
  const problems = [...missing, ...off];
  return problems.length === 0 ? { verdict: "good" } : { verdict: "missing", problems };
}

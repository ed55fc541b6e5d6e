import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { readLoadRecord } from "../host/installed/records.ts";
import { type Host, namesIn, thisHost } from "../host/kernel/host.ts";
import type { HostRefusalCode } from "../host/kernel/host-refusals.ts";
import { isModuleLoaded, type LoadedPatch, readLoadedPatch, readLoadedPatches } from "../host/kernel/sysfs.ts";
import type { PendingTask } from "../host/kernel/tasks.ts";
import { type ChangeOptions, load } from "../host/load/load.ts";
import type { LoadedModule } from "../host/load/loaded-module.ts";
import { enabledOrEnabling } from "../host/load/transition.ts";
import { type UnloadedModule, unload } from "../host/load/unload.ts";
import { writeFileAtomically } from "../support/cache.ts";
import { messageOf } from "../support/errors.ts";
import { makeFolder } from "../support/make-folder.ts";
import { readUpdate, type UpdateBundle, withModuleFiles } from "./update-bundle.ts";
import { kernelNameOf, parseUpdateManifest, type UpdateManifest, updateIdPattern } from "./update-manifest.ts";

/** Why an update was not applied, or not undone: a word for programs. */
export type AbortCode =
  | "no_match"
  | "code_busy"
  | "target_not_loaded"
  | "missing_update"
  | "module_busy"
  | "already_reversed"
  | "call_failed"
  | "forbidden"
  | "not_ready"
  | "unexpected";

/** What {@link applyUpdate} is asked to do. */
export interface ApplyOptions extends Omit<ChangeOptions, "dryRun"> {
  /** Archive of an update, or the folder it was unpacked to. */
  readonly path: string;
  /** Do not insist on the target modules. */
  readonly partial?: boolean | undefined;
}

/** How applying or undoing ended. */
export interface UpdateChangeResult {
  readonly schema: 1;
  readonly outcome: "applied" | "already" | "undone" | "absent" | "aborted";
  readonly id: string;
  /** Null unless aborted. */
  readonly cause: AbortCode | null;
  /** What exactly was found, one line each. */
  readonly details: readonly string[];
  /** Tasks that held the kernel up, with the function each is in. */
  readonly tasks: readonly PendingTask[];
  readonly notes: readonly string[];
}

/** Where applied updates are remembered until the next boot. */
const updatesFolder = "/run/kmend/updates";

/**
 * Applies an update: checks it against the running kernel, loads its module and waits until it is in force. When that fails, nothing of it stays loaded.
 * @throws KmendError `BAD_UPDATE`, `NOT_ROOT`, `INTERRUPTED`
 */
export async function applyUpdate(options: ApplyOptions): Promise<UpdateChangeResult> {
  const host = options.host ?? thisHost();
  const bundle = await readUpdate(options.path);
  const { manifest } = bundle;
  const { id } = manifest;
  const name = kernelNameOf(manifest);
  const running = await readLoadedPatches(host.root);
  const own = running.find((patch) => patch.name === name);
  if (own === undefined || !enabledOrEnabling(own)) {
    const problem = await problemWith(host, manifest, running, options.partial === true);
    if (problem !== undefined) return aborted(id, ...problem);
  }
  const result = await withModuleFiles([bundle], (files) => load({ ...options, operands: files, host }));
  const [module] = result.modules as readonly [LoadedModule];
  if (module.outcome === "loaded" || module.outcome === "already") {
    const outcome = module.outcome === "loaded" ? "applied" : "already";
    const notes = [...module.notes, ...(await remember(host, bundle))];
    return { ...blank(id), outcome, notes };
  }
  if (module.outcome === "stalled")
    return { ...aborted(id, "code_busy", describe(module)), tasks: module.stalledTasks };
  return aborted(id, causeOf(module), describe(module));
}

/** What keeps an update from being applied, before anything is loaded. */
async function problemWith(
  host: Host,
  manifest: UpdateManifest,
  running: readonly LoadedPatch[],
  partial: boolean,
): Promise<[AbortCode, readonly string[]] | undefined> {
  if (manifest.kernel.release !== host.release) {
    return ["no_match", [`it was made for kernel ${manifest.kernel.release}, and ${host.release} is running`]];
  }
  const inForce = new Map(running.filter(enabledOrEnabling).map((patch) => [patch.name, patch]));
  const missing: string[] = [];
  for (const { id, sha256 } of manifest.after) {
    const name = `ksplice_${id.replaceAll("-", "_")}`;
    if (!inForce.has(name)) missing.push(`update ${id} is not applied`);
    else if ((await readLoadRecord(host.root, name))?.sha256 !== sha256)
      missing.push(`another build of update ${id} is applied`);
  }
  if (missing.length > 0) return ["missing_update", missing];
  const known = new Set(manifest.after.map(({ id }) => `ksplice_${id.replaceAll("-", "_")}`));
  const changed = manifest.functions.filter(({ change }) => change === "changed");
  const taken: string[] = [];
  for (const patch of inForce.values()) {
    if (known.has(patch.name)) continue;
    for (const { name: object, functions } of patch.objects) {
      for (const { name } of functions) {
        if (changed.some((entry) => entry.name === name && entry.object === object)) {
          taken.push(`${name} (${object}) was changed by ${patch.name}, which it was not built upon`);
        }
      }
    }
  }
  if (taken.length > 0) return ["no_match", taken];
  const loaded = new Set(await namesIn(host.root, "/sys/module"));
  const absent = manifest.targets.filter((target) => target !== "vmlinux" && !loaded.has(target.replaceAll("-", "_")));
  if (absent.length === 0 || partial) return undefined;
  return ["target_not_loaded", absent.map((target) => `the module ${target} is not loaded`)];
}

/** What each refusal of a load means for an update. */
const causeOfRefusal: Readonly<Record<HostRefusalCode, AbortCode>> = {
  EARLIER_MISSING: "missing_update",
  STAYS_IN_MEMORY: "already_reversed",
  UNSIGNED: "forbidden",
  LOADING_SWITCHED_OFF: "forbidden",
  UNTRUSTED_FILE: "forbidden",
  OTHER_RELEASE: "no_match",
  OTHER_BUILD: "no_match",
  OTHER_MODULE_BUILD: "no_match",
  OTHER_BUILD_LOADED: "no_match",
  NAME_TAKEN: "no_match",
  CALLED_DIRECTLY: "no_match",
  TAKES_BACK_OTHERS: "no_match",
  ENDS_STOP: "no_match",
  NO_LIVEPATCH: "not_ready",
  FTRACE_OFF: "not_ready",
  FTRACE_BUSY: "not_ready",
  TRANSITION_RUNNING: "not_ready",
  OBJECT_UNSETTLED: "not_ready",
  DEPENDENCY_MISSING: "not_ready",
  // Names of updates are short, and the rest is told of what is replaced, unloaded or installed.
  MODULE_NAME_TOO_LONG: "unexpected",
  NOT_CUMULATIVE: "unexpected",
  NO_LIVE_PATCH: "unexpected",
  INSTALLED_AS: "unexpected",
  NO_INITRAMFS_HOOK: "unexpected",
  NO_BOOT_SERVICE: "unexpected",
  HELD_BACK: "unexpected",
  GUARD_NOT_WRITTEN: "unexpected",
  FILE_NAME: "unexpected",
  HELD_BY: "unexpected",
};

/** The same for errors; every other one is `unexpected`. */
const causeOfError: Readonly<Record<string, AbortCode>> = {
  MODULE_IN_USE: "already_reversed",
  CALLBACK_REFUSED: "call_failed",
  LOAD_FORBIDDEN: "forbidden",
};

/** Of several causes the first of these is told: what has to be seen to before anything else helps. */
const causeOrder: readonly AbortCode[] = [
  "missing_update",
  "already_reversed",
  "call_failed",
  "forbidden",
  "no_match",
  "not_ready",
];

/** Which cause the reasons of a failed load come down to. */
function causeOf({ refusals, error }: LoadedModule): AbortCode {
  const causes = new Set(refusals.map(({ code }) => causeOfRefusal[code]));
  if (error !== null) causes.add(causeOfError[error.code] ?? "unexpected");
  return causeOrder.find((cause) => causes.has(cause)) ?? "unexpected";
}

function describe({ refusals, error }: LoadedModule): string[] {
  const lines = refusals.map(({ what, why }) => `${what}: ${why}`);
  return error === null ? lines : [...lines, error.message, ...error.why.split("\n").filter(Boolean)];
}

function blank(id: string): Omit<UpdateChangeResult, "outcome"> {
  return { schema: 1, id, cause: null, details: [], tasks: [], notes: [] };
}

function aborted(id: string, cause: AbortCode, details: readonly string[]): UpdateChangeResult {
  return { ...blank(id), outcome: "aborted", cause, details };
}

/** Keeps what `ksplice-view` shows. An update that is in force stays so where that cannot be written. @returns a remark then. */
async function remember(host: Host, { manifest, patch, description }: UpdateBundle): Promise<string[]> {
  const folder = join(host.root, updatesFolder, manifest.id);
  try {
    await makeFolder(folder);
    await writeFileAtomically(join(folder, "patch"), patch);
    await writeFileAtomically(join(folder, "description"), description);
    await writeFileAtomically(join(folder, "manifest.json"), JSON.stringify(manifest));
    return [];
  } catch (error) {
    return [`its patch and description cannot be kept for ksplice-view: ${messageOf(error)}`];
  }
}

/** An update that is applied, or was: as much as is known of it. */
export interface AppliedUpdate {
  readonly id: string;
  readonly state: "applied" | "being applied" | "being reversed" | "reversed";
  readonly description: string;
  /** Source patch; null for an update that something else than kmend applied. */
  readonly patch: string | null;
  readonly manifest: UpdateManifest | null;
}

/** All updates that are in the kernel, oldest first. */
export async function appliedUpdates(host: Host = thisHost()): Promise<readonly AppliedUpdate[]> {
  const patches = await readLoadedPatches(host.root);
  const found: AppliedUpdate[] = [];
  for (const { name, state } of patches) {
    if (!name.startsWith("ksplice_")) continue;
    const id = await idOf(host, name);
    const kept = await remembered(host, id);
    const states = {
      enabled: "applied",
      enabling: "being applied",
      disabling: "being reversed",
      disabled: "reversed",
    } as const;
    found.push({ id, state: states[state], ...kept });
  }
  return found;
}

/** The identifier of a loaded module: the kernel does not tell dashes from underscores. */
async function idOf(host: Host, name: string): Promise<string> {
  const names = await readdir(join(host.root, updatesFolder)).catch(() => [] as string[]);
  return names.find((id) => `ksplice_${id.replaceAll("-", "_")}` === name) ?? name.slice("ksplice_".length);
}

async function remembered(host: Host, id: string): Promise<Omit<AppliedUpdate, "id" | "state">> {
  const folder = join(host.root, updatesFolder, id);
  const text = (name: string): Promise<string | null> => readFile(join(folder, name), "utf8").catch(() => null);
  const stored = await text("manifest.json");
  let manifest: UpdateManifest | null = null;
  try {
    if (stored !== null) manifest = parseUpdateManifest(stored);
  } catch {
    // Written by another version: what the kernel shows is still there.
  }
  return { manifest, description: ((await text("description")) ?? "").trimEnd(), patch: await text("patch") };
}

/**
 * Reverses an update and unloads its module.
 * @param wanted its identifier, or a name of its module.
 * @throws KmendError `NOT_ROOT`, `INTERRUPTED`
 */
export async function undoUpdate(
  wanted: string,
  options: Omit<ChangeOptions, "dryRun"> = {},
): Promise<UpdateChangeResult> {
  const host = options.host ?? thisHost();
  const plain = wanted.replace(/^ksplice[-_]/, "");
  const applied = await appliedUpdates(host);
  const same = (id: string): boolean => id.replaceAll("-", "_") === plain.replaceAll("-", "_");
  const own = applied.find(({ id }) => same(id));
  const id = own?.id ?? plain;
  const name = `ksplice_${id.replaceAll("-", "_")}`;
  if (own === undefined && !(updateIdPattern.test(id) && (await isModuleLoaded(host.root, name)))) {
    return { ...blank(id), outcome: "absent" };
  }
  const dependants = await dependantsOf(host, id, name);
  if (own !== undefined && dependants.length > 0) return aborted(id, "module_busy", dependants);
  const result = await unload({ ...options, host, operands: [name] });
  const [module] = result.modules;
  if (module === undefined || module.outcome === "absent") return { ...blank(id), outcome: "absent" };
  if (module.outcome === "unloaded" || module.outcome === "disabled") {
    await rm(join(host.root, updatesFolder, id), { recursive: true, force: true });
    return { ...blank(id), outcome: "undone", notes: module.notes };
  }
  const details = [...module.refusals.map(({ why }) => why), ...(module.error === null ? [] : [module.error.message])];
  if (module.outcome === "stalled") return { ...aborted(id, "code_busy", details), tasks: module.stalledTasks };
  return aborted(id, causeOfFailedUndo(module, own !== undefined), details);
}

function causeOfFailedUndo({ refusals, error }: UnloadedModule, wasInForce: boolean): AbortCode {
  const codes = refusals.map(({ code }) => code);
  if (error?.code === "MODULE_IN_USE") return "already_reversed";
  if (codes.includes("HELD_BY")) return wasInForce ? "module_busy" : "already_reversed";
  if (codes.includes("TRANSITION_RUNNING")) return "not_ready";
  return codes.includes("LOADING_SWITCHED_OFF") ? "forbidden" : "unexpected";
}

/** Loaded patches that were built on top of an update: their manifests say so, also those of modules that something else loaded. */
async function dependantsOf(host: Host, id: string, name: string): Promise<string[]> {
  const found: string[] = [];
  for (const patch of await readLoadedPatches(host.root)) {
    if (patch.name === name || patch.state === "disabled") continue;
    const loaded = await readLoadedPatch(host.root, patch.name);
    const after = loaded?.manifest?.after ?? [];
    if (after.some((earlier) => earlier.name.replaceAll("-", "_") === name)) {
      const later = patch.name.startsWith("ksplice_") ? `update ${await idOf(host, patch.name)}` : patch.name;
      found.push(`${later} was built on top of update ${id}`);
    }
  }
  return found;
}

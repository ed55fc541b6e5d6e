import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Manifest } from "../../patch-module/manifest.ts";
import { readTracedFunctions } from "../kernel/ftrace-users.ts";
import { type Host, namesIn, readState, readSwitch } from "../kernel/host.ts";
import { type HostRefusal, type HostRefusalCode, refuseOnHost } from "../kernel/host-refusals.ts";
import { kernelVersion, readKernelBuildId, readSignaturePolicy } from "../kernel/kernel-facts.ts";
import { hasLivepatch, isHeldByItself, isModuleLoaded, type LoadedPatch, readLoadedPatches } from "../kernel/sysfs.ts";
import { untrusted } from "../kernel/trusted-path.ts";
import { type PatchFile, untold } from "./patch-file.ts";
import { compareTargetModule } from "./target-modules.ts";
import { enabledOrEnabling, inTransition } from "./transition.ts";

/** MODULE_NAME_LEN of include/linux/module.h is 56 on 64-bit kernels, the closing zero included. */
export const longestModuleName = 55;

/** What a load finds of the module itself. */
export type Presence =
  /** Nothing of it is there. */
  | "absent"
  /** In force already. */
  | "loaded"
  /** On its way to be in force: a load that was cut off. */
  | "loading"
  /** In memory without its patch in force, and has to be unloaded first. */
  | "idle";

/** What is known before a module is loaded. */
export interface Preflight {
  readonly presence: Presence;
  /** Empty when it may be loaded. */
  readonly refusals: readonly HostRefusal[];
  /** What the operator should know all the same. */
  readonly notes: readonly string[];
  /** Loaded patches that this one puts out of force. */
  readonly replaces: readonly string[];
}

/** What is asked of a load. */
export interface LoadIntent {
  /** `load` refuses to take back what other patch modules change, `replace` is there to do that, `boot` does it and says so. */
  readonly intent: "load" | "replace" | "boot";
}

/** Looks whether a module may be loaded now; changes nothing. */
export async function preflight(host: Host, file: PatchFile, { intent }: LoadIntent): Promise<Preflight> {
  const { root } = host;
  const refusals: HostRefusal[] = [];
  const notes: string[] = [];
  const add = (code: HostRefusalCode, values: Record<string, string> = {}): void => {
    refusals.push(refuseOnHost(code, file.name, file.path, values));
  };
  const able = await hasLivepatch(root);
  if (!able) add("NO_LIVEPATCH", { release: host.release });
  if ((await readSwitch(root, "/proc/sys/kernel/ftrace_enabled")) === false) add("FTRACE_OFF");
  await checkKernel(host, file, add, notes);
  const distrust = await untrusted(root, file.path);
  if (distrust !== undefined) add("UNTRUSTED_FILE", { problem: distrust });
  const policy = await readSignaturePolicy(root);
  if (policy.loadingSwitchedOff) add("LOADING_SWITCHED_OFF");
  if (policy.enforcedBy !== null && !file.signed) add("UNSIGNED", { policy: policy.enforcedBy });
  const length = file.name.length;
  if (length > longestModuleName) {
    add("MODULE_NAME_TOO_LONG", { length: String(length), longest: String(longestModuleName) });
  }
  await waitForComing(host, file.name);
  const patches = await readLoadedPatches(root);
  const own = patches.find(({ name }) => name === file.name);
  for (const patch of patches) {
    if (inTransition(patch) && (patch !== own || patch.state === "disabling")) {
      add("TRANSITION_RUNNING", { patch: patch.name, state: patch.state });
    }
  }
  const presence = await presenceOf(host, file, own, add);
  if (presence === "idle" && (await isHeldByItself(root, file.name))) add("STAYS_IN_MEMORY", { name: file.name });
  const others = patches.filter((patch) => patch !== own && enabledOrEnabling(patch));
  const replaces = file.manifest?.replace === true ? others.map(({ name }) => name) : [];
  // What is there already changes nothing more.
  if (able && presence !== "loaded" && presence !== "loading") {
    await checkSurroundings(host, file, patches, add, notes);
    checkOthers(file, others, intent, add, notes);
    for (const { name } of file.manifest?.after ?? []) {
      if (!others.some((other) => other.name === name.replaceAll("-", "_"))) add("EARLIER_MISSING", { name });
    }
  }
  if (intent === "replace") checkCumulative(file, add);
  return { presence, refusals, notes, replaces };
}

type Add = (code: HostRefusalCode, values?: Record<string, string>) => void;

async function checkKernel(host: Host, file: PatchFile, add: Add, notes: string[]): Promise<void> {
  const made = file.manifest?.kernel;
  const release = file.release === "" ? "none that it names" : file.release;
  if (file.release !== host.release) {
    add("OTHER_RELEASE", { made: release, running: host.release, verb: "is running" });
    return;
  }
  notes.push(...untold(file));
  if (made === undefined) return;
  if (made.release !== host.release) {
    add("OTHER_RELEASE", { made: made.release, running: host.release, verb: "is running" });
  }
  await checkTargets(host, file, add, notes);
  const running = await readKernelBuildId(host.root);
  if (running === undefined) notes.push("this kernel shows no build id: only its release was compared");
  else if (made.buildId !== running) {
    add("OTHER_BUILD", { release: made.release, made: made.buildId || "(none)", running });
  }
}

/** DKMS and vendors replace modules under the same name and for the same kernel. */
async function checkTargets({ root, release }: Host, file: PatchFile, add: Add, notes: string[]): Promise<void> {
  for (const module of file.manifest?.modules ?? []) {
    const state = await compareTargetModule(root, release, module, true);
    if (state.kind === "unknown") notes.push(state.why);
    if (state.kind === "other") add("OTHER_MODULE_BUILD", { module: module.name, ...state });
  }
}

/** How long another load of the same module gets to come to an end, in milliseconds: its kmend was killed, and its insmod goes on alone. */
const comingLimit = 10_000;

async function waitForComing(host: Host, name: string): Promise<void> {
  const started = host.now();
  while ((await readState(host.root, "/sys/module", name, "initstate")) === "coming") {
    if (host.now() - started >= comingLimit) return;
    await host.sleep(100);
  }
}

async function presenceOf(host: Host, file: PatchFile, own: LoadedPatch | undefined, add: Add): Promise<Presence> {
  const { root } = host;
  if (own === undefined && !(await isModuleLoaded(root, file.name))) return "absent";
  if (!(await isSameBuild(root, file))) {
    const taint = await readState(root, "/sys/module", file.name, "taint");
    if (own === undefined && taint?.includes("K") === true) return "idle";
    add(own === undefined ? "NAME_TAKEN" : "OTHER_BUILD_LOADED", { name: file.name });
  }
  if (own === undefined || own.state === "disabled") return "idle";
  return own.state === "enabled" ? "loaded" : "loading";
}

/** Compares the build id note of the file with the loaded module's; a module without one is taken for the same. */
async function isSameBuild(root: string, file: PatchFile): Promise<boolean> {
  const path = join(root, "/sys/module", file.name, "notes/.note.gnu.build-id");
  const loaded = await readFile(path).catch(() => undefined);
  if (loaded === undefined && file.buildIdNote === undefined) return true;
  return loaded !== undefined && file.buildIdNote !== undefined && loaded.equals(file.buildIdNote);
}

/** What is around the functions: modules that they are in or need, and other users of ftrace. */
async function checkSurroundings(
  host: Host,
  file: PatchFile,
  patches: readonly LoadedPatch[],
  add: Add,
  notes: string[],
): Promise<void> {
  const { root } = host;
  const loaded = new Set(await namesIn(root, "/sys/module"));
  for (const module of file.depends) {
    if (!loaded.has(module.replaceAll("-", "_"))) add("DEPENDENCY_MISSING", { module });
  }
  const functions = file.manifest?.functions ?? [];
  for (const object of new Set(functions.map(({ object }) => object))) {
    if (object === "vmlinux") continue;
    const state = await readState(root, "/sys/module", object, "initstate");
    if (state === "coming") add("OBJECT_UNSETTLED", { object, doing: "loaded" });
    else if (state === "going") add("OBJECT_UNSETTLED", { object, doing: "unloaded" });
    else if (state === undefined) notes.push(`${object} is not loaded: its functions change when it is`);
  }
  const traced = await readTracedFunctions(root);
  if (traced === undefined) {
    notes.push("the list of traced functions cannot be read: other users of ftrace are not seen");
    return;
  }
  const shared = kernelVersion(host.release)[0] >= 6;
  const ours = new Set(patches.flatMap(functionsOf));
  for (const { name, object, sympos } of functions) {
    const busy = traced.find(
      (one) => one.name === name && one.object === object && (one.changesAddress || (one.direct && !shared)),
    );
    // The list has no positions, so of a name that is there twice it cannot be told which one is meant.
    if (busy === undefined || ours.has(`${object} ${name}`)) continue;
    if (sympos === 0) add("FTRACE_BUSY", { function: name, line: busy.line });
    else notes.push(`a function named ${name} is redirected by something else than a live patch (${busy.line})`);
  }
}

function functionsOf(patch: LoadedPatch): string[] {
  return patch.objects.flatMap(({ name, functions }) => functions.map((entry) => `${name} ${entry.name}`));
}

/** What becomes of the patches that are in force. */
function checkOthers(
  file: PatchFile,
  others: readonly LoadedPatch[],
  intent: LoadIntent["intent"],
  add: Add,
  notes: string[],
): void {
  if (others.length === 0 || file.manifest === null) return;
  const own = new Set(file.manifest.functions.map(({ name, object }) => `${object} ${name}`));
  if (file.manifest.replace) {
    const isStop = ({ manifest }: LoadedPatch): boolean => manifest?.stop !== undefined;
    checkStops(file.manifest, others.filter(isStop), intent, add, notes);
    const lost = others
      .filter((patch) => !isStop(patch))
      .flatMap((patch) =>
        functionsOf(patch)
          .filter((name) => !own.has(name))
          .map((name) => `${name.split(" ")[1]} (${patch.name})`),
      );
    if (lost.length === 0 || intent === "replace") return;
    if (intent === "load") add("TAKES_BACK_OTHERS", { lost: lost.join(", ") });
    else
      notes.push(
        `${file.name} replaces the modules before it; these functions are the kernel's own again: ${lost.join(", ")}`,
      );
    return;
  }
  for (const patch of others) {
    const covered = functionsOf(patch).filter((name) => own.has(name));
    if (covered.length === 0) continue;
    if (patch.manifest?.stop !== undefined) {
      checkStops(file.manifest, [patch], intent, add, notes);
      continue;
    }
    const namesOf = (keys: readonly string[]): string => keys.map((name) => name.split(" ")[1]).join(", ");
    const direct = new Map(
      (patch.manifest?.functions ?? []).map((entry) => [`${entry.object} ${entry.name}`, entry.calledDirectly]),
    );
    const passed = covered.filter((name) => direct.get(name) === true);
    const names = namesOf(covered);
    if (passed.length > 0) add("CALLED_DIRECTLY", { patch: patch.name, functions: namesOf(passed) });
    else if (covered.every((name) => direct.get(name) === false))
      notes.push(`${file.name} covers functions of ${patch.name}, whose version of them is no longer used: ${names}`);
    else
      notes.push(`${file.name} covers functions of ${patch.name}, which may still call its version of them: ${names}`);
  }
}

/**
 * What becomes of stops that a patch module takes out of force or covers: one for vulnerabilities that the module fixes is no longer needed; any other would
 * silently open again what it closes.
 */
function checkStops(
  { cves = [], stop }: Manifest,
  stops: readonly LoadedPatch[],
  intent: LoadIntent["intent"],
  add: Add,
  notes: string[],
): void {
  for (const { name, manifest } of stops) {
    const closed = manifest?.cves ?? [];
    const open = closed.filter((cve) => !cves.includes(cve));
    if (stop !== undefined) notes.push(`a stop of the same functions is loaded: ${name}`);
    else if (closed.length > 0 && open.length === 0)
      notes.push(`the stop ${name} ends: this module fixes ${closed.join(", ")}`);
    else if (intent === "load") {
      const problem = closed.length === 0 ? "it names no vulnerability" : `this module does not fix ${open.join(", ")}`;
      add("ENDS_STOP", { stop: name, problem });
    } else notes.push(`the stop ${name} ends, and what it closes is open again`);
  }
}

function checkCumulative(file: PatchFile, add: Add): void {
  if (file.manifest === null) {
    add("NOT_CUMULATIVE", {
      problem: "it was not made by kmend and does not say whether it replaces other patch modules",
    });
  } else if (!file.manifest.replace) {
    add("NOT_CUMULATIVE", {
      problem:
        "it was built with --no-replace, so the kernel would put it on top of the loaded ones and take none of them back",
    });
  }
}

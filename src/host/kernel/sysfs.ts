import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Manifest } from "../../patch-module/manifest.ts";
import { manifestSectionName, parseManifestNote, staysInMemory } from "../../patch-module/manifest-note.ts";
import { messageOf } from "../../support/errors.ts";
import { namesIn, readState, readSwitch } from "./host.ts";

/** Where the kernel shows live patches (Documentation/ABI/testing/sysfs-kernel-livepatch). */
export const livepatchFolder = "/sys/kernel/livepatch";

/** A function as sysfs names it: `NAME,POSITION`, where the position counts from 1 also for a name that is there once. */
export interface PatchedFunction {
  readonly name: string;
  readonly sympos: number;
}

/** vmlinux or a kernel module with the functions that a patch changes in it. */
export interface PatchedObject {
  readonly name: string;
  /** Whether the kernel has applied the patch to it; null on kernels before 6.1, which do not say. */
  readonly patched: boolean | null;
  readonly functions: readonly PatchedFunction[];
}

/** What a patch is doing: a transition is `enabling` or `disabling` by where it is enabledOrEnabling. */
export type PatchState = "enabled" | "enabling" | "disabled" | "disabling";

/** A live patch that the kernel lists. */
export interface LoadedPatch {
  /** Name of its module, with underscores. */
  readonly name: string;
  readonly state: PatchState;
  /** Whether it replaced the patches before it; null where neither the kernel (since 6.11) nor its manifest says. */
  readonly replace: boolean | null;
  /** Place in the kernel's list, 1 for the oldest; null on kernels that do not show it (before 6.14). */
  readonly stackOrder: number | null;
  readonly objects: readonly PatchedObject[];
  /** References to its module; null when unknown. */
  readonly references: number | null;
  readonly manifest: Manifest | null;
  /** What is wrong with the manifest of a module that kmend made; null when nothing is. */
  readonly problem: string | null;
}

/** A patch module that is in memory while the kernel does not list its patch: it was replaced or taken back, and only waits to be unloaded. */
export interface IdleModule {
  readonly name: string;
  readonly references: number | null;
  /** It holds itself in memory until the next boot, since addresses of it may be kept. */
  readonly staysInMemory?: true;
}

/** Whether the kernel has live patching at all. */
export async function hasLivepatch(root: string): Promise<boolean> {
  return (await namesIn(root, "/sys/kernel")).includes("livepatch");
}

/** All live patches in the order in which they were loaded, oldest first. */
export async function readLoadedPatches(root: string): Promise<readonly LoadedPatch[]> {
  const names = await namesIn(root, livepatchFolder, true);
  const found = await Promise.all(names.map((name) => readLoadedPatch(root, name)));
  const patches = found.filter((patch) => patch !== undefined);
  const age = await modulesByAge(root);
  const place = ({ name, stackOrder }: LoadedPatch): number => stackOrder ?? age.indexOf(name);
  return patches.sort((one, other) => place(one) - place(other));
}

/** One live patch by its module's name; undefined when the kernel does not list it (any more). */
export async function readLoadedPatch(root: string, name: string): Promise<LoadedPatch | undefined> {
  const folder = join(livepatchFolder, name);
  const enabled = await readSwitch(root, folder, "enabled");
  if (enabled === null) return undefined;
  // Before 4.12 there are no transitions and no such file.
  const transition = (await readSwitch(root, folder, "transition")) === true;
  const { manifest, problem } = await readLoadedManifest(root, name);
  const order = await readState(root, folder, "stack_order");
  return {
    name,
    state: transition ? (enabled ? "enabling" : "disabling") : enabled ? "enabled" : "disabled",
    replace: (await readSwitch(root, folder, "replace")) ?? manifest?.replace ?? null,
    stackOrder: order === undefined ? null : Number(order),
    objects: await readObjects(root, folder),
    references: await readReferences(root, name),
    manifest,
    problem,
  };
}

async function readObjects(root: string, folder: string): Promise<readonly PatchedObject[]> {
  const names = await namesIn(root, folder, true);
  return Promise.all(
    names.map(async (name) => {
      const functions = await namesIn(root, join(folder, name), true);
      return {
        name,
        patched: await readSwitch(root, folder, name, "patched"),
        functions: functions.map(functionNamed),
      };
    }),
  );
}

/** Function names hold dots (`foo.isra.0`), but no comma. */
function functionNamed(entry: string): PatchedFunction {
  const comma = entry.lastIndexOf(",");
  if (comma < 0) return { name: entry, sympos: 1 };
  return { name: entry.slice(0, comma), sympos: Number(entry.slice(comma + 1)) };
}

/** The manifest of a loaded module; null for one that kmend did not make, or whose manifest is damaged. */
export async function readLoadedManifest(
  root: string,
  name: string,
): Promise<Pick<LoadedPatch, "manifest" | "problem">> {
  const note = readNote(join(root, "/sys/module", name, "notes", manifestSectionName));
  if (note === undefined) return { manifest: null, problem: null };
  try {
    return { manifest: parseManifestNote(note, hostIsLittleEndian), problem: null };
  } catch (error) {
    return { manifest: null, problem: messageOf(error) };
  }
}

/** sysfs gives a page for each read(2), with which readFile() of node:fs/promises is content; this one reads on to the end. */
function readNote(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

const hostIsLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** References to a loaded module; null when it is not loaded, or cannot be unloaded at all. */
async function readReferences(root: string, name: string): Promise<number | null> {
  const text = await readState(root, "/sys/module", name, "refcnt");
  return text === undefined ? null : Number(text);
}

/** Whether a module of that name is in memory, whatever it is. */
export async function isModuleLoaded(root: string, name: string): Promise<boolean> {
  return (await readState(root, "/sys/module", name, "initstate")) !== undefined;
}

/** Patch modules that the kernel holds without their patch, oldest first. The letter K in their taint tells them (TAINT_LIVEPATCH). */
export async function readIdleModules(root: string): Promise<readonly IdleModule[]> {
  const listed = new Set(await namesIn(root, livepatchFolder, true));
  const idle: IdleModule[] = [];
  for (const name of await modulesByAge(root)) {
    if (listed.has(name)) continue;
    const taint = await readState(root, "/sys/module", name, "taint");
    if (taint?.includes("K") !== true) continue;
    const references = await readReferences(root, name);
    idle.push({ name, references, ...((await isHeldByItself(root, name)) ? { staysInMemory: true } : {}) });
  }
  return idle;
}

/** Whether a loaded module of kmend's holds itself in memory until the next boot. */
export async function isHeldByItself(root: string, name: string): Promise<boolean> {
  return staysInMemory((await readLoadedManifest(root, name)).manifest ?? undefined);
}

/** Names of all loaded modules, oldest first: /proc/modules lists the newest one first. */
async function modulesByAge(root: string): Promise<readonly string[]> {
  const text = (await readState(root, "/proc/modules")) ?? "";
  const names = text.split("\n").map((line) => line.slice(0, Math.max(0, line.indexOf(" "))));
  return names.filter(Boolean).reverse();
}

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { removeDurably, writeDurably } from "../kernel/durable.ts";
import { type Host, namesIn, readState } from "../kernel/host.ts";
import type { Steps } from "../kernel/steps.ts";
import type { PatchFile } from "../load/patch-file.ts";

/**
 * Where the attempts to load modules at boot are recorded, in a folder for each release and a file for each module. A file is written before its module is
 * loaded and removed when the machine has run for a minute with it. So one that an earlier boot left behind tells of a machine that died. The form is one
 * that the shell of an initramfs reads and writes as well (system/initramfs/load).
 */
const bootRecordFolder = "/var/lib/kmend/boot";

/** Seconds that a machine has to run with a module before the module is trusted. */
export const probationSeconds = 60;

/** One attempt. */
export interface BootRecord {
  readonly release: string;
  /** Name of the module. */
  readonly name: string;
  /** SHA-256 of its file; empty when the record cannot be read, and it then stands for every build of the module. */
  readonly sha256: string;
  /** Which boot it was, as in /proc/sys/kernel/random/boot_id; empty when the record cannot be read. */
  readonly boot: string;
  /** Seconds from that boot to the last change of the state; 0 when unknown. */
  readonly uptime: number;
  /** `loading` from just before the load to the end of the transition. */
  readonly state: "loading" | "loaded";
  /** When it was written, in milliseconds since 1970. */
  readonly time: number;
}

/** A module that is not loaded at boot, since the machine died when it was. */
export interface HeldBack {
  /** When it was loaded, as ISO 8601 in UTC. */
  readonly since: string;
  /** What happened. */
  readonly why: string;
}

/** Folder of the records for one kernel, below the root. */
export function bootRecordsOf(root: string, release: string): string {
  return join(root, bootRecordFolder, release);
}

/** The number of this boot; undefined when the kernel does not show it. */
export function readBootId(root: string): Promise<string | undefined> {
  return readState(root, "/proc/sys/kernel/random/boot_id");
}

async function uptimeOf(root: string): Promise<number> {
  return Math.floor(Number.parseFloat((await readState(root, "/proc/uptime")) ?? "0"));
}

/** All records of one kernel. */
export async function readBootRecords(root: string, release: string): Promise<readonly BootRecord[]> {
  const names = await namesIn(root, join(bootRecordFolder, release));
  // A name with a dot in front is a file that is being written.
  const records = await Promise.all(
    names.filter((name) => !name.startsWith(".")).map((name) => readBootRecord(root, release, name)),
  );
  return records.filter((record) => record !== undefined);
}

async function readBootRecord(root: string, release: string, name: string): Promise<BootRecord | undefined> {
  const path = join(bootRecordsOf(root, release), name);
  const time = await stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => undefined,
  );
  if (time === undefined) return undefined;
  const lines = ((await readState(path)) ?? "").split("\n");
  const field = (key: string): string => lines.find((line) => line.startsWith(`${key}=`))?.slice(key.length + 1) ?? "";
  const state = field("state") === "loaded" ? "loaded" : "loading";
  return { release, name, sha256: field("sha256"), boot: field("boot"), uptime: Number(field("uptime")), state, time };
}

/** Records, before anything is loaded, that this boot loads a module, or that it has loaded it. @throws the system's error when it cannot be written. */
export async function writeBootRecord(
  host: Pick<Host, "root" | "release">,
  file: Pick<PatchFile, "name" | "sha256">,
  state: BootRecord["state"],
): Promise<void> {
  const { root, release } = host;
  const fields = { sha256: file.sha256, boot: (await readBootId(root)) ?? "", uptime: await uptimeOf(root), state };
  const text = Object.entries(fields).map(([key, value]) => `${key}=${value}\n`);
  await writeDurably(join(bootRecordsOf(root, release), file.name), text.join(""));
}

/** Forgets an attempt. @returns false when there was none. */
export function removeBootRecord(root: string, release: string, name: string): Promise<boolean> {
  return removeDurably(join(bootRecordsOf(root, release), name));
}

/** Of the records of a kernel, the one that keeps this very build of a module out; undefined when none does. */
export function findHeldBack(
  records: readonly BootRecord[],
  boot: string | undefined,
  file: Pick<PatchFile, "name" | "sha256">,
): HeldBack | undefined {
  const record = records.find(({ name }) => name === file.name);
  if (record === undefined || (record.boot !== "" && record.boot === boot)) return undefined;
  if (record.sha256 !== "" && record.sha256 !== file.sha256) return undefined;
  const since = new Date(record.time).toISOString();
  if (record.state === "loading") return { since, why: `the machine went down while it was loaded at boot (${since})` };
  const suspect = records.find((other) => other.boot === record.boot && other.state === "loading");
  const other = suspect === undefined ? "" : `; ${suspect.name} was being loaded just then`;
  return { since, why: `the machine went down within a minute of loading it at boot (${since})${other}` };
}

/** What {@link confirmBoot} found. */
export interface Confirmed {
  /** Modules that are trusted from now on. */
  readonly confirmed: readonly string[];
  /** Modules whose minute is not over. */
  readonly early: readonly string[];
}

/**
 * Forgets the attempts of this boot that the machine has lived with for {@link probationSeconds}.
 * @param orderly the machine is being shut down, which is no crash: all attempts are forgotten.
 */
export async function confirmBoot(
  host: Pick<Host, "root" | "release">,
  orderly: boolean,
  steps: Steps,
): Promise<Confirmed> {
  const { root, release } = host;
  const boot = await readBootId(root);
  const now = await uptimeOf(root);
  const confirmed: string[] = [];
  const early: string[] = [];
  for (const record of await readBootRecords(root, release)) {
    if (record.boot === "" || record.boot !== boot) continue;
    if (orderly || now - record.uptime >= probationSeconds) {
      const path = join(bootRecordsOf(root, release), record.name);
      await steps.take(`rm ${path}`, async () => void (await removeBootRecord(root, release, record.name)));
      confirmed.push(record.name);
    } else early.push(record.name);
  }
  return { confirmed, early };
}

import { readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { exists, rethrowDiskErrors, sha256, withLock, writeFileAtomically } from "../../../support/cache.ts";
import { environmentVariable } from "../../../support/environment.ts";
import { ExitCode, KmendError, messageOf } from "../../../support/errors.ts";
import { makeFolder } from "../../../support/make-folder.ts";
import { run } from "../../../support/run.ts";
import type { DistributionContext } from "./distribution.ts";

/** Package lists that apt reads: those of this machine, or those of archives that a file of the user's names. */
export interface AptArchive {
  /** Tells catalogues of archives apart; empty for this machine's. */
  readonly key: string;
  /** The user's file, for messages; undefined for this machine's. */
  readonly file: string | undefined;
  /** Options of apt-get(8) and apt-cache(8) that choose the lists. */
  readonly options: readonly string[];
  /** Folder with the lists of packages. */
  readonly lists: string;
  /** Files and folders besides the lists that decide what apt says. */
  readonly settings: readonly string[];
  /** Folder with `sources.list` and `sources.list.d`. */
  readonly sources: string;
}

/**
 * Folder of the cache for unpacked packages. Those of a user's file have one of their own: they are no kernels that this machine's archive offers.
 */
export function packagesFolder({ apt, cache }: Pick<AptContext, "apt" | "cache">): string {
  return apt.key === "" ? join(cache, "packages") : join(cache, "archives", apt.key, "packages");
}

/** What the functions that call apt need. */
export interface AptContext extends DistributionContext {
  readonly apt: AptArchive;
}

/** The archives that apt is configured for on this machine: asked for only where the user's environment names another configuration (apt.conf(5)). */
export async function machineArchive(): Promise<AptArchive> {
  const usual = {
    lists: "/var/lib/apt/lists",
    status: "/var/lib/dpkg/status",
    list: "/etc/apt/sources.list",
    parts: "/etc/apt/sources.list.d",
  };
  const found = { ...usual, ...((environmentVariable("APT_CONFIG") ?? "") === "" ? {} : await configuredPlaces()) };
  return {
    key: "",
    file: undefined,
    options: [],
    lists: found.lists,
    settings: [found.status, found.list, found.parts, "/etc/apt/preferences", "/etc/apt/preferences.d"],
    sources: "/etc/apt",
  };
}

async function configuredPlaces(): Promise<Readonly<Record<string, string>>> {
  const keys = ["lists", "Dir::State::lists/d", "status", "Dir::State::status/f"];
  const more = ["list", "Dir::Etc::sourcelist/f", "parts", "Dir::Etc::sourceparts/d"];
  const { stdout } = await run("apt-config", ["shell", ...keys, ...more]);
  return Object.fromEntries([...stdout.matchAll(/^(\w+)='(.*)'$/gm)].map(([, key, path]) => [key, path]));
}

/**
 * The archives of a file with deb822 stanzas (sources.list(5)). Their lists, and all that apt writes, are in a folder of the cache; nothing counts as installed, and
 * the preferences of this machine do not apply. Its proxies and certificates do, and apt checks signatures by the keyring that the stanzas name, else by
 * the machine's.
 * @throws KmendError `ARCHIVE_FILE` (exit 2) for a file that is missing or no such stanzas.
 */
export async function archiveOfFile(path: string, cache: string): Promise<AptArchive> {
  const file = resolve(path);
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw archiveFile(file, messageOf(error));
  });
  for (const field of ["Types", "URIs", "Suites"]) {
    if (!new RegExp(`^${field}:[ \\t]*\\S`, "im").test(text)) throw archiveFile(file, `it has no field ${field}`);
  }
  const key = sha256(text).slice(0, 16);
  const folder = join(cache, "archives", key);
  const sources = join(folder, "etc");
  const places = ["lists/partial", "archives/partial", "etc/sources.list.d", "etc/preferences.d"];
  for (const place of places) await makeFolder(join(folder, place)).catch(rethrowDiskErrors);
  const contents = {
    status: "",
    extended_states: "",
    "etc/preferences": "",
    "etc/sources.list.d/archive.sources": text,
  };
  for (const [name, content] of Object.entries(contents)) {
    const place = join(folder, name);
    // apt reads all lists again when such a file is newer than its index of them.
    if (!(await exists(place))) await writeFileAtomically(place, content);
  }
  const settings: Readonly<Record<string, string>> = {
    "Dir::State": folder,
    "Dir::State::Lists": join(folder, "lists"),
    "Dir::State::status": join(folder, "status"),
    "Dir::State::extended_states": join(folder, "extended_states"),
    "Dir::Cache": folder,
    "Dir::Cache::archives": join(folder, "archives"),
    "Dir::Cache::pkgcache": join(folder, "pkgcache.bin"),
    "Dir::Cache::srcpkgcache": join(folder, "srcpkgcache.bin"),
    "Dir::Etc::SourceList": "/dev/null",
    "Dir::Etc::SourceParts": join(sources, "sources.list.d"),
    "Dir::Etc::Preferences": join(sources, "preferences"),
    "Dir::Etc::PreferencesParts": join(sources, "preferences.d"),
    "APT::Default-Release": "",
    "Acquire::Languages": "none",
  };
  return {
    key,
    file,
    options: Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
    lists: join(folder, "lists"),
    settings: [],
    sources,
  };
}

/** Lists of a user's file are read again after this time, since nobody else does it. */
const dayMilliseconds = 24 * 60 * 60 * 1000;

/**
 * Fetches the lists of a user's file when they were never fetched, or a day ago; lists that are there are used on when this fails.
 * @param update fetches them.
 */
export async function freshenLists(context: AptContext, update: () => Promise<void>): Promise<void> {
  const { apt, progress, signal } = context;
  if (apt.file === undefined) return;
  const stamp = join(apt.lists, "..", "updated");
  const age = async (): Promise<number> => {
    const known = await stat(stamp).catch(() => undefined);
    return known === undefined ? Number.POSITIVE_INFINITY : Date.now() - known.mtimeMs;
  };
  if ((await age()) < dayMilliseconds) return;
  await withLock(
    `${stamp}.lock`,
    async () => {
      const old = await age();
      if (old < dayMilliseconds) return;
      try {
        await update();
      } catch (error) {
        signal?.throwIfAborted();
        if (old === Number.POSITIVE_INFINITY) throw error;
        progress.note(
          `the lists of ${apt.file} cannot be updated, those of an earlier run are used: ${messageOf(error)}`,
        );
        return;
      }
      await writeFileAtomically(stamp, "");
    },
    { onWait: (pid) => progress.note(`process ${pid} is fetching the same lists; waiting for it`), signal },
  );
}

/** What to do about lists that are empty or out of date. */
export function updateHint({ file }: AptArchive): string {
  return file === undefined
    ? "run: sudo apt-get update"
    : `check URIs, Suites and Components in ${file}; its lists have just been fetched again`;
}

function archiveFile(file: string, why: string): KmendError {
  return new KmendError({
    code: "ARCHIVE_FILE",
    message: "the file of --archive does not describe an archive",
    where: file,
    why,
    hint: "write a stanza with the fields Types, URIs, Suites, Components and Signed-By, as in /etc/apt/sources.list.d/debian.sources",
    exitCode: ExitCode.usage,
  });
}

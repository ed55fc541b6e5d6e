import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { exists, sha256, writeFileAtomically } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { describePackages, installedVersions, mayUpdateLists, packageNames, type Stanza, updateLists } from "./apt.ts";
import { compareDebianVersions } from "./debian-version.ts";
import type { DistributionContext } from "./distribution.ts";

/** One version of one package. */
export interface CatalogVersion {
  readonly version: string;
  /** Installed on this machine. */
  readonly installed: boolean;
  /** The archive offers it, or the cache has it unpacked. */
  readonly offered: boolean;
  /** For kernel images: name and version of the source package that they were built from. */
  readonly source?: { readonly name: string; readonly version: string } | undefined;
}

/** What the package system knows about kernels. */
export interface Catalog {
  /** Image packages by kernel release, versions newest first. */
  readonly images: Readonly<Record<string, readonly CatalogVersion[]>>;
  /** Packages `linux-headers-*` and `linux-source-*` by name, versions newest first. */
  readonly packages: Readonly<Record<string, readonly CatalogVersion[]>>;
  /** Release that the meta package for the plain flavour depends on. */
  readonly newest: string | undefined;
}

/** Bump when {@link Catalog} changes shape. */
const format = 1;

/**
 * Reads the catalogue. Asking apt takes about a second, so the answer is kept in the cache for as long as neither apt's lists nor dpkg's status change.
 * Empty package lists are updated when this process may do so; without them, what earlier runs unpacked can still be used.
 * @throws KmendError `LISTS_EMPTY` (exit 5) with the command to run.
 */
export async function readCatalog(architecture: string, context: DistributionContext): Promise<Catalog> {
  let listed = await cachedCatalog(architecture, context);
  let failure: unknown;
  if (!offersKernels(listed) && mayUpdateLists()) {
    try {
      await updateLists(context);
      listed = await cachedCatalog(architecture, context);
    } catch (error) {
      context.signal?.throwIfAborted();
      failure = error;
    }
  }
  const unpacked = await readdir(join(context.cache, "packages")).catch(() => []);
  const catalog = withUnpackedPackages(listed, unpacked);
  if (Object.keys(catalog.images).length > 0) return catalog;
  throw (
    failure ??
    new KmendError({
      code: "LISTS_EMPTY",
      message: "the package lists of this machine offer no kernel",
      why: "kmend takes kernels and their sources from the distribution's archive",
      hint: "run: sudo apt-get update",
      exitCode: ExitCode.environment,
    })
  );
}

function offersKernels(catalog: Catalog): boolean {
  return Object.values(catalog.images).some((versions) => versions.some((version) => version.offered));
}

/**
 * Packages that an earlier run has unpacked stay usable when the archive drops them.
 * @param folders names `<package>_<version>`.
 */
export function withUnpackedPackages(catalog: Catalog, folders: readonly string[]): Catalog {
  const images: Record<string, CatalogVersion[]> = copyTable(catalog.images);
  const packages: Record<string, CatalogVersion[]> = copyTable(catalog.packages);
  for (const folder of folders) {
    const [, name, version] = /^(linux-[^_]+)_([^_]+)$/.exec(folder) ?? [];
    if (name === undefined || version === undefined) continue;
    const release = /^linux-image-(.+)$/.exec(name)?.[1];
    const [table, key] = release === undefined ? [packages, name] : [images, release];
    const known = table[key]?.findIndex((candidate) => candidate.version === version) ?? -1;
    if (known < 0) add(table, key, { version, offered: true, installed: false });
    else table[key]?.splice(known, 1, { ...(table[key][known] as CatalogVersion), offered: true });
    table[key]?.sort((a, b) => compareDebianVersions(b.version, a.version));
  }
  return { images, packages, newest: catalog.newest };
}

function copyTable(table: Readonly<Record<string, readonly CatalogVersion[]>>): Record<string, CatalogVersion[]> {
  return Object.fromEntries(Object.entries(table).map(([key, versions]) => [key, [...versions]]));
}

async function cachedCatalog(architecture: string, context: DistributionContext): Promise<Catalog> {
  const path = join(context.cache, "catalog", `${architecture}.json`);
  const key = await stateOfPackageSystem();
  if (await exists(path)) {
    const known = parseCached(await readFile(path, "utf8"));
    if (known?.key === key) return known.catalog;
  }
  const catalog = await askPackageSystem(architecture, context.signal);
  if (offersKernels(catalog)) await writeFileAtomically(path, JSON.stringify({ key, catalog }));
  return catalog;
}

function parseCached(text: string): { key: string; catalog: Catalog } | undefined {
  try {
    return JSON.parse(text) as { key: string; catalog: Catalog };
  } catch {
    return undefined;
  }
}

/** Changes whenever a list is updated or a package installed or removed. */
async function stateOfPackageSystem(): Promise<string> {
  const lists = "/var/lib/apt/lists";
  const files = [
    ...(await readdir(lists).catch(() => [])).map((name) => join(lists, name)),
    "/var/lib/dpkg/status",
    "/etc/apt/sources.list",
    "/etc/apt/preferences",
    "/etc/apt/preferences.d",
  ];
  const states = await Promise.all(
    files.map(async (path) => {
      const state = await stat(path).catch(() => undefined);
      return state === undefined ? `${path} -` : `${path} ${state.size} ${state.mtimeMs}`;
    }),
  );
  return sha256([`format ${format}`, process.env["PATH"] ?? "", ...states.sort()].join("\n"));
}

async function askPackageSystem(architecture: string, signal: AbortSignal | undefined): Promise<Catalog> {
  const wanted = new RegExp(`^linux-(image-(\\d.*-)?${architecture}|headers-\\d.*-${architecture}|source-\\d.*)$`);
  const [names, installed] = await Promise.all([
    packageNames("linux-", signal),
    installedVersions(["linux-image-*", "linux-headers-*", "linux-source-*"], signal),
  ]);
  const stanzas = await describePackages(
    names.filter((name) => wanted.test(name)),
    signal,
  );
  return buildCatalog(stanzas, installed, architecture);
}

/**
 * Turns package descriptions into a catalogue.
 * @param installed versions by package name, unsigned image packages included.
 */
export function buildCatalog(
  stanzas: readonly Stanza[],
  installed: ReadonlyMap<string, string>,
  architecture: string,
): Catalog {
  const images: Record<string, CatalogVersion[]> = {};
  const packages: Record<string, CatalogVersion[]> = {};
  const metas: { version: string; release: string }[] = [];
  for (const stanza of stanzas) {
    const name = stanza.get("package");
    const version = stanza.get("version");
    if (name === undefined || version === undefined) continue;
    const depends = stanza.get("depends") ?? "";
    if (name === `linux-image-${architecture}`) {
      const release = /(?:^|, )linux-image-(\d\S*)/.exec(depends)?.[1];
      if (release !== undefined) metas.push({ version, release });
      continue;
    }
    const offered = stanza.has("filename");
    const release = /^linux-image-(.+)$/.exec(name)?.[1];
    if (release === undefined) {
      add(packages, name, { version, offered, installed: installed.get(name) === version });
    } else if (isRelease(release)) {
      const isInstalled = installed.get(name) === version || installed.get(`${name}-unsigned`) === version;
      add(images, release, { version, offered, installed: isInstalled, source: sourceOf(stanza, version) });
    }
  }
  addOnlyInstalled(images, packages, installed);
  for (const versions of [...Object.values(images), ...Object.values(packages)]) {
    versions.sort((a, b) => compareDebianVersions(b.version, a.version));
  }
  metas.sort((a, b) => compareDebianVersions(b.version, a.version));
  return { images, packages, newest: metas[0]?.release };
}

/** `6.1.0-9-amd64` and `6.12.9+deb12-amd64` are releases; `6.12-amd64` names a package that depends on the newest one. */
function isRelease(text: string): boolean {
  return /^\d+\.\d+\.\d+/.test(text);
}

/** Signed images say `Built-Using: linux (= 6.1.9-2)`: their own source package only holds signatures. Others name or are their source. */
function sourceOf(stanza: Stanza, version: string): { name: string; version: string } {
  const builtUsing = /(?:^|, )(linux\S*) \(= ([^)]+)\)/.exec(stanza.get("built-using") ?? "");
  if (builtUsing !== null) return { name: builtUsing[1] as string, version: builtUsing[2] as string };
  const source = /^(\S+)(?: \(([^)]+)\))?/.exec(stanza.get("source") ?? "");
  return { name: source?.[1] ?? "linux", version: source?.[2] ?? version };
}

/** Installed versions that apt described under another version or not at all. */
function addOnlyInstalled(
  images: Record<string, CatalogVersion[]>,
  packages: Record<string, CatalogVersion[]>,
  installed: ReadonlyMap<string, string>,
): void {
  for (const [name, version] of installed) {
    const release = /^linux-image-(.+?)(?:-unsigned)?$/.exec(name)?.[1];
    if (release !== undefined && !isRelease(release)) continue;
    const [table, key] = release === undefined ? [packages, name] : [images, release];
    if (table[key]?.some((known) => known.version === version) === true) continue;
    add(table, key, { version, offered: false, installed: true });
  }
}

function add(table: Record<string, CatalogVersion[]>, key: string, version: CatalogVersion): void {
  const versions = table[key];
  if (versions === undefined) table[key] = [version];
  else versions.push(version);
}

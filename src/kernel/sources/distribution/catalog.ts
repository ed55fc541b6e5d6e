import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { exists, sha256, writeFileAtomically } from "../../../support/cache.ts";
import { environmentVariable } from "../../../support/environment.ts";
import { ExitCode, KmendError } from "../../../support/errors.ts";
import {
  describeCandidate,
  describePackages,
  installedVersions,
  mayUpdateLists,
  packageNames,
  parseStanzas,
  type Stanza,
  updateLists,
} from "./apt.ts";
import { type AptArchive, type AptContext, freshenLists, packagesFolder, updateHint } from "./apt-archive.ts";
import { compareDebianVersions } from "./debian-version.ts";

/** How a distribution names its kernel packages. */
export interface CatalogNames {
  /** Tells catalogues of one cache apart, for example `debian-amd64`. */
  readonly key: string;
  /** Packages that are of interest. */
  readonly wanted: RegExp;
  /** Patterns for dpkg-query(1) that match their names, installed or not. */
  readonly installed: readonly string[];
  /** Package that depends on the newest image of the plain flavour. */
  readonly meta: string;
  /** The release of the kernel whose image a package of that name holds, or undefined for other packages. */
  releaseOf(packageName: string): string | undefined;
}

/** One version of one package. */
export interface CatalogVersion {
  readonly version: string;
  /** Installed on this machine. */
  readonly installed: boolean;
  /** The archive offers it, or the cache has it unpacked. */
  readonly offered: boolean;
  /** For kernel images: name of the package, where it is not `linux-image-RELEASE`. */
  readonly package?: string | undefined;
  /** For kernel images: packages of the same release that they depend on, which hold the kernel where the image package does not; each with its alternatives. */
  readonly parts?: readonly (readonly string[])[] | undefined;
  /** Name and version of the source package that it was built from. */
  readonly source?: { readonly name: string; readonly version: string } | undefined;
}

/** What the package system knows about kernels. */
export interface Catalog {
  /** Image packages by kernel release, versions newest first. */
  readonly images: Readonly<Record<string, readonly CatalogVersion[]>>;
  /** All other packages by name, versions newest first. */
  readonly packages: Readonly<Record<string, readonly CatalogVersion[]>>;
  /** Release that the meta package for the plain flavour depends on. */
  readonly newest: string | undefined;
  /** Releases of images that are only there because an earlier run unpacked them, while the archive has dropped them. */
  readonly unlisted?: readonly string[] | undefined;
}

/** Bump when {@link Catalog} changes shape. */
const format = 3;

/**
 * Reads the catalogue. Asking apt takes about a second, so the answer is kept in the cache for as long as neither apt's lists nor dpkg's status change.
 * Empty package lists are updated when this process may do so; without them, what earlier runs unpacked can still be used.
 * @throws KmendError `LISTS_EMPTY` (exit 5) with the command to run.
 */
export async function readCatalog(names: CatalogNames, context: AptContext): Promise<Catalog> {
  const { apt } = context;
  await freshenLists(context, () => updateLists(context));
  let listed = await cachedCatalog(names, context);
  let failure: unknown;
  if (!offersKernels(listed) && apt.file === undefined && mayUpdateLists(apt)) {
    try {
      await updateLists(context);
      listed = await cachedCatalog(names, context);
    } catch (error) {
      context.signal?.throwIfAborted();
      failure = error;
    }
  }
  const root = packagesFolder(context);
  const unpacked = await readdir(root).catch(() => []);
  const catalog = await withUnpackedPackages(listed, root, unpacked, names);
  if (Object.keys(catalog.images).length > 0) return catalog;
  throw (
    failure ??
    new KmendError({
      code: "LISTS_EMPTY",
      message: `the package lists of ${apt.file ?? "this machine"} offer no kernel`,
      why: "kmend takes kernels and their sources from the distribution's archive",
      hint: updateHint(apt),
      exitCode: ExitCode.environment,
    })
  );
}

function offersKernels(catalog: Catalog): boolean {
  return Object.values(catalog.images).some((versions) => versions.some((version) => version.offered));
}

/**
 * Packages that an earlier run has unpacked stay usable when the archive drops them.
 * @param unpacked names of folders in `root`: `<package>_<version>`.
 */
async function withUnpackedPackages(
  catalog: Catalog,
  root: string,
  unpacked: readonly string[],
  names: CatalogNames,
): Promise<Catalog> {
  const images: Record<string, CatalogVersion[]> = copyTable(catalog.images);
  const packages: Record<string, CatalogVersion[]> = copyTable(catalog.packages);
  for (const folder of unpacked) {
    const [, name, version] = /^(linux-[^_]+)_([^_]+)$/.exec(folder) ?? [];
    if (name === undefined || version === undefined) continue;
    const release = names.releaseOf(name);
    if (release === undefined && !names.wanted.test(name)) continue;
    const offered = { version, offered: true, installed: false };
    const table = release === undefined ? packages[name] : images[release];
    // What apt lists tells more than the folder of an older kmend, which has no control file.
    const isListed = table?.some((known) => known.version === version && known.source !== undefined) === true;
    const stanza = isListed ? undefined : await controlOf(join(root, folder));
    const described = stanza === undefined ? offered : { ...offered, ...descriptionOf(stanza, version, release) };
    if (release !== undefined) addImage(images, release, name, described);
    else merge(packages, name, described);
  }
  sortVersions(images, packages);
  const unlisted = Object.keys(images).filter((release) => !Object.hasOwn(catalog.images, release));
  return { images: withSources(images, packages), packages, newest: catalog.newest, unlisted };
}

/** The control file of an unpacked package. */
async function controlOf(folder: string): Promise<Stanza | undefined> {
  const text = await readFile(join(folder, "DEBIAN/control"), "utf8").catch(() => "");
  return parseStanzas(text)[0];
}

function copyTable(table: Readonly<Record<string, readonly CatalogVersion[]>>): Record<string, CatalogVersion[]> {
  return Object.fromEntries(Object.entries(table).map(([key, versions]) => [key, [...versions]]));
}

async function cachedCatalog(names: CatalogNames, context: AptContext): Promise<Catalog> {
  const { apt } = context;
  const path = join(context.cache, "catalog", `${[names.key, ...(apt.key === "" ? [] : [apt.key])].join("-")}.json`);
  const key = await stateOfPackageSystem(apt);
  if (await exists(path)) {
    const known = parseCached(await readFile(path, "utf8"));
    if (known?.key === key) return known.catalog;
  }
  const catalog = await askPackageSystem(names, context);
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
async function stateOfPackageSystem({ lists, settings }: AptArchive): Promise<string> {
  const files = [...(await readdir(lists).catch(() => [])).map((name) => join(lists, name)), ...settings];
  const states = await Promise.all(
    files.map(async (path) => {
      const state = await stat(path).catch(() => undefined);
      return state === undefined ? `${path} -` : `${path} ${state.size} ${state.mtimeMs}`;
    }),
  );
  return sha256([`format ${format}`, environmentVariable("PATH") ?? "", ...states.sort()].join("\n"));
}

async function askPackageSystem(names: CatalogNames, context: AptContext): Promise<Catalog> {
  const isOfMachine = context.apt.file === undefined;
  const [all, meta, installed] = await Promise.all([
    packageNames("linux-", context),
    describeCandidate(names.meta, context),
    isOfMachine ? installedVersions(names.installed, context.signal) : new Map<string, string>(),
  ]);
  const wanted = all.filter((name) => names.wanted.test(name) && name !== names.meta);
  return buildCatalog(await describePackages(wanted, context), meta, installed, names);
}

/**
 * Turns package descriptions into a catalogue.
 * @param meta the version of the meta package that apt would install.
 * @param installed versions by package name, unsigned image packages included.
 */
function buildCatalog(
  stanzas: readonly Stanza[],
  meta: Stanza | undefined,
  installed: ReadonlyMap<string, string>,
  names: CatalogNames,
): Catalog {
  const images: Record<string, CatalogVersion[]> = {};
  const packages: Record<string, CatalogVersion[]> = {};
  for (const stanza of stanzas) {
    const name = stanza.get("package");
    const version = stanza.get("version");
    if (name === undefined || version === undefined) continue;
    const release = names.releaseOf(name);
    const known = {
      version,
      offered: stanza.has("filename"),
      installed: installed.get(name) === version,
      ...descriptionOf(stanza, version, release),
    };
    if (release !== undefined) addImage(images, release, name, known);
    else if (!name.startsWith("linux-image-")) merge(packages, name, known);
  }
  // Versions that apt described under another name, or not at all.
  for (const [name, version] of installed) {
    const release = names.releaseOf(name);
    const known = { version, offered: false, installed: true };
    if (release !== undefined) addImage(images, release, name, known);
    else if (!name.startsWith("linux-image-")) merge(packages, name, known);
  }
  sortVersions(images, packages);
  const newest = /(?:^|, )(linux-image-\d[^\s,]*)/.exec(meta?.get("depends") ?? "")?.[1];
  return {
    images: withSources(images, packages),
    packages,
    newest: newest === undefined ? undefined : names.releaseOf(newest),
  };
}

function sortVersions(...tables: readonly Readonly<Record<string, CatalogVersion[]>>[]): void {
  for (const versions of tables.flatMap((table) => Object.values(table)))
    versions.sort((a, b) => compareDebianVersions(b.version, a.version));
}

function descriptionOf(
  stanza: Stanza,
  version: string,
  release: string | undefined,
): Pick<CatalogVersion, "source" | "parts"> {
  const parts = release === undefined ? [] : partsOf(stanza.get("depends") ?? "", release);
  return { source: sourceOf(stanza, version), ...(parts.length === 0 ? {} : { parts }) };
}

/**
 * Dependencies of an image package that are of its own release: `linux-binary-7.0.9-amd64` and `linux-modules-7.0.9-amd64` for the one of release
 * `7.0.9-amd64`, each with the alternatives that a `|` gives.
 */
function partsOf(depends: string, release: string): string[][] {
  return depends
    .split(",")
    .map((group) => group.split("|").map((choice) => choice.trim().split(/[\s:(]/)[0] ?? ""))
    .map((choices) => choices.filter((name) => name.replace(/-unsigned$/, "").endsWith(`-${release}`)))
    .filter((choices) => choices.length > 0);
}

/** Where an image package only draws in its parts, the source is that of the parts: its own is one of signatures, which has other versions. */
function withSources(
  images: Readonly<Record<string, readonly CatalogVersion[]>>,
  packages: Readonly<Record<string, readonly CatalogVersion[]>>,
): Readonly<Record<string, readonly CatalogVersion[]>> {
  const withSource = (image: CatalogVersion): CatalogVersion => {
    const known = (image.parts ?? []).flat().flatMap((name) => packages[name] ?? []);
    const source = known.find((part) => part.version === image.version && part.source !== undefined)?.source;
    return source === undefined ? image : { ...image, source };
  };
  return Object.fromEntries(Object.entries(images).map(([release, versions]) => [release, versions.map(withSource)]));
}

/** Signed images say `Built-Using: linux (= 6.1.9-2)`: their own source package only holds signatures. Others name or are their source. */
function sourceOf(stanza: Stanza, version: string): { name: string; version: string } {
  const builtUsing = /(?:^|, )(linux\S*) \(= ([^)]+)\)/.exec(stanza.get("built-using") ?? "");
  if (builtUsing !== null) return { name: builtUsing[1] as string, version: builtUsing[2] as string };
  const source = /^(\S+)(?: \(([^)]+)\))?/.exec(stanza.get("source") ?? "");
  return { name: source?.[1] ?? "linux", version: source?.[2] ?? version };
}

/** An image may be in two packages of one version, with and without a signature. The signed one, which machines boot, is preferred where it is on offer. */
function addImage(
  images: Record<string, CatalogVersion[]>,
  release: string,
  name: string,
  version: CatalogVersion,
): void {
  merge(images, release, name === `linux-image-${release}` ? version : { ...version, package: name });
}

/** What several places say of one version holds together. */
function merge(table: Record<string, CatalogVersion[]>, key: string, version: CatalogVersion): void {
  const versions = table[key] ?? [];
  table[key] = versions;
  const at = versions.findIndex((known) => known.version === version.version);
  const known = versions[at];
  if (known === undefined) {
    versions.push(version);
    return;
  }
  const named = known.offered && (known.package === undefined || !version.offered) ? known : version;
  versions[at] = {
    version: known.version,
    offered: known.offered || version.offered,
    installed: known.installed || version.installed,
    ...(named.package === undefined ? {} : { package: named.package }),
    ...((named.source ?? known.source) === undefined ? {} : { source: named.source ?? known.source }),
    ...((known.parts ?? version.parts) === undefined ? {} : { parts: known.parts ?? version.parts }),
  };
}

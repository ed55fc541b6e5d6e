import { release as runningRelease } from "node:os";
import { join } from "node:path";
import { exists } from "../../../support/cache.ts";
import { ExitCode, KmendError } from "../../../support/errors.ts";
import { requireProgram } from "../../../support/find-program.ts";
import { once } from "../../../support/once.ts";
import { type PackageVersion, unpackedPackages } from "./apt.ts";
import {
  type AptArchive,
  type AptContext,
  archiveOfFile,
  machineArchive,
  packagesFolder,
  updateHint,
} from "./apt-archive.ts";
import { aptCompilers } from "./apt-compilers.ts";
import { type Catalog, type CatalogNames, type CatalogVersion, readCatalog } from "./catalog.ts";
import { compareDebianVersions } from "./debian-version.ts";
import type {
  Distribution,
  DistributionContext,
  ImageNames,
  KernelFiles,
  KernelRequest,
  OfferedKernel,
} from "./distribution.ts";
import { installedFiles, isReadable, unpackedFiles } from "./kernel-files.ts";
import { nearestReleases, seriesOf } from "./nearest-releases.ts";

/** Names and habits of one distribution whose kernels apt downloads. */
export interface AptNames {
  readonly name: string;
  readonly catalog: CatalogNames;
  /** Releases of the plain flavour, for when its meta package is not on offer. */
  readonly plain: RegExp;
  /** What a release ends with that names its architecture, for people who leave it out: `-amd64`. Undefined where releases name none. */
  readonly architectureSuffix?: string | undefined;
  /** Packages beside that of the image which hold configuration and modules. */
  companions(release: string): readonly string[];
  /** Packages with further modules, which not every kernel has. */
  furtherModules(release: string): readonly string[];
  /** Package with the source of an image. */
  sourcePackage(catalog: Catalog, release: string, image: CatalogVersion): PackageVersion;
  /** Where the source package may have its archive, without a leading slash. */
  sourceArchives(name: string): readonly string[];
  /** Where versions are kept that the archive has dropped. */
  readonly history: string;
  /** Package version that an image names in its banner. */
  packageVersionIn(image: ImageNames): string | undefined;
  /** Arguments of make by which the distribution's own build writes its name into the kernel's code. */
  makeFlags?(version: string): readonly string[];
  /** Folder with patches that this flavour is built with beside those in the source archive; undefined for most flavours. */
  patches?(release: string, image: CatalogVersion, context: AptContext): Promise<string> | undefined;
  /** Gets source that is in no binary package; undefined when it cannot be had that way either. */
  sourceElsewhere?(
    catalog: Catalog,
    release: string,
    image: CatalogVersion,
    context: AptContext,
  ): Promise<string | undefined>;
}

/** Where packages are looked for. */
export interface AptPlaces {
  /** Folder that installed files are below; `/` but in tests. */
  readonly root?: string | undefined;
  /** File with deb822 stanzas of archives in place of this machine's. */
  readonly sources?: string | undefined;
}

/** Kernels of a distribution with apt, in all flavours; image, modules, headers and source are of one version. */
export class AptKernels implements Distribution {
  readonly name: string;
  readonly #names: AptNames;
  /** Where installed files are looked for; `/` but in tests. */
  readonly #root: string;
  /** File that describes the archives; undefined for those of this machine. */
  readonly #sources: string | undefined;

  constructor(names: AptNames, { root = "/", sources }: AptPlaces = {}) {
    this.name = names.name;
    this.#names = names;
    this.#root = root;
    this.#sources = sources;
  }

  async #withArchive(context: DistributionContext): Promise<AptContext> {
    const sources = this.#sources;
    return {
      ...context,
      apt: await (sources === undefined ? machineArchive() : archiveOfFile(sources, context.cache)),
    };
  }

  packageVersionIn(image: ImageNames): string | undefined {
    return this.#names.packageVersionIn(image);
  }

  async kernels(context: DistributionContext): Promise<readonly OfferedKernel[]> {
    return listKernels(await readCatalog(this.#names.catalog, await this.#withArchive(context)), this.#names);
  }

  async newest(outer: DistributionContext, series?: string): Promise<string> {
    const context = await this.#withArchive(outer);
    return this.#newest(await readCatalog(this.#names.catalog, context), series, context.apt);
  }

  async releaseNamed(name: string, context: DistributionContext, toBuild = false): Promise<string> {
    const catalog = await readCatalog(this.#names.catalog, await this.#withArchive(context));
    const whole = `${name}${this.#names.architectureSuffix ?? ""}`;
    const found = [name, whole].find((release) => (catalog.images[release] ?? []).length > 0);
    if (found === undefined) throw notOffered(catalog, name, { kind: "release", release: name }, this.#names);
    if (toBuild) await this.#requireBuildable(catalog, found);
    return found;
  }

  /** Makes sure, as far as the archive's lists tell, that {@link fetch} and its source would succeed. */
  async #requireBuildable(catalog: Catalog, release: string): Promise<void> {
    const image = chooseImage(catalog, release, { kind: "release", release }, this.#names);
    if (!image.installed) this.#requireOffered(catalog, image.package ?? `linux-image-${release}`, image);
    // A source package, which some distributions have beside the binary one, is known only by asking for it.
    if (this.#names.sourceElsewhere !== undefined) return;
    const spec = this.#names.sourcePackage(catalog, release, image);
    if (isOffered(catalog, spec.name, spec.version) || (await this.#installedSource(catalog, spec)) !== undefined)
      return;
    throw this.#sourceNotOffered(catalog, release, spec);
  }

  async fetch(request: KernelRequest, outer: DistributionContext): Promise<KernelFiles> {
    const names = this.#names;
    const context = await this.#withArchive(outer);
    const catalog = await readCatalog(names.catalog, context);
    const release = request.kind === "newest" ? this.#newest(catalog, request.series, context.apt) : request.release;
    const image = chooseImage(catalog, release, request, names);
    const imagePackage = image.package ?? `linux-image-${release}`;
    if (!image.installed) this.#requireOffered(catalog, imagePackage, image);
    const { version } = image;
    const headers = `linux-headers-${release}`;
    const further = names.furtherModules(release).filter((name) => isOffered(catalog, name, version));
    const dependencies = (image.parts ?? []).map(
      (choices) => choices.find((name) => isOffered(catalog, name, version)) ?? (choices[0] as string),
    );
    const parts = [...new Set([imagePackage, ...names.companions(release), ...further, ...dependencies])];
    const isHere = parts.every((name) => name === imagePackage || isInstalled(catalog, name, version));
    const here = image.installed && isHere ? await installedFiles(this.#root, release) : undefined;
    const symversHere = await this.#installedFile(
      catalog,
      { name: headers, version },
      `usr/src/${headers}/Module.symvers`,
    );
    const wanted = [...(here === undefined ? parts : []), ...(symversHere === undefined ? [headers] : [])];
    const folders = await this.#unpack(
      catalog,
      wanted.map((name) => ({ name, version })),
      context,
    );
    const headersRoot = symversHere === undefined ? (folders.at(-1) as string) : this.#root;
    const unpacked = { release, version, packages: parts, folders: folders.slice(0, parts.length) };
    return {
      release,
      packageVersion: version,
      makeFlags: names.makeFlags?.(version),
      compilers: aptCompilers(context),
      ...(here ?? (await unpackedFiles({ ...unpacked, headers: headersRoot, root: packagesFolder(context) }))),
      symversPath: join(headersRoot, `usr/src/${headers}/Module.symvers`),
      source: once(async () => ({
        kind: "archive" as const,
        path: await this.#sourceArchive(catalog, release, image, context),
        patches: await names.patches?.(release, image, context),
      })),
    };
  }

  /** The kernel that the distribution installs, or the newest plain one of a series: of those whose source is on offer, where there are any. */
  #newest(catalog: Catalog, series: string | undefined, apt: AptArchive): string {
    if (series === undefined && catalog.newest !== undefined) return catalog.newest;
    const kernels = listKernels(catalog, this.#names);
    const plain = kernels.filter(({ release }) => this.#names.plain.test(release));
    const ofSeries = plain.filter(({ release }) => series === undefined || seriesOf(release) === series);
    const listed = ofSeries.filter(({ release }) => catalog.unlisted?.includes(release) !== true);
    const meant = listed.length > 0 ? listed : ofSeries;
    const newest =
      (series === undefined ? undefined : meant.filter(({ hasSource }) => hasSource).at(-1)) ?? meant.at(-1);
    if (newest !== undefined) return newest.release;
    const offered = [...new Set(plain.map(({ release }) => seriesOf(release)))].sort(compareDebianVersions);
    throw new KmendError({
      code: "KERNEL_NOT_OFFERED",
      message: `no kernel ${series === undefined ? "for this machine" : `of series ${series}`} is on offer`,
      ...(offered.length === 0 ? {} : { why: `there are kernels of ${offered.join(", ")}` }),
      hint:
        offered.length === 0
          ? updateHint(apt)
          : "choose one of these with --series, or another archive with --archive FILE",
      exitCode: series === undefined ? ExitCode.environment : ExitCode.usage,
    });
  }

  async #unpack(catalog: Catalog, wanted: readonly PackageVersion[], context: AptContext): Promise<readonly string[]> {
    if (wanted.length === 0) return [];
    for (const { name, version } of wanted) {
      if (this.#names.catalog.releaseOf(name) !== undefined) continue;
      const known = catalog.packages[name]?.find((candidate) => candidate.version === version);
      this.#requireOffered(catalog, name, known ?? { version, installed: false, offered: false });
    }
    return context.progress.phase("download", "Fetch kernel packages", (status) =>
      unpackedPackages(wanted, context, status),
    );
  }

  #requireOffered(catalog: Catalog, name: string, wanted: CatalogVersion): void {
    if (wanted.offered) return;
    const versions = catalog.packages[name]?.filter(({ offered }) => offered).map(({ version }) => version) ?? [];
    throw new KmendError({
      code: "PACKAGE_NOT_OFFERED",
      message: `the archive does not offer ${name} in version ${wanted.version}`,
      why: versions.length === 0 ? "it offers no version of it" : `it offers ${versions.join(", ")}`,
      hint: `choose another kernel with --kernel, or install the package of that version from ${this.#names.history}`,
      exitCode: ExitCode.environment,
    });
  }

  async #installedFile(catalog: Catalog, spec: PackageVersion, path: string): Promise<string | undefined> {
    const known = catalog.packages[spec.name]?.find(({ version }) => version === spec.version);
    const file = join(this.#root, path);
    return known?.installed === true && (await isReadable(file)) ? file : undefined;
  }

  async #sourceArchive(catalog: Catalog, release: string, image: CatalogVersion, context: AptContext): Promise<string> {
    const spec = this.#names.sourcePackage(catalog, release, image);
    const installed = await this.#installedSource(catalog, spec);
    if (installed !== undefined) return unpackable(installed);
    if (!isOffered(catalog, spec.name, spec.version)) {
      const elsewhere = await this.#names.sourceElsewhere?.(catalog, release, image, context);
      if (elsewhere !== undefined) return elsewhere;
      throw this.#sourceNotOffered(catalog, release, spec);
    }
    const [folder] = await context.progress.phase("source", "Fetch kernel source", (status) =>
      unpackedPackages([spec], context, status),
    );
    const archives = this.#names.sourceArchives(spec.name);
    for (const path of archives.map((name) => join(folder as string, name)))
      if (await exists(path)) return unpackable(path);
    throw new Error(`${spec.name} ${spec.version} has none of ${archives.join(", ")}`);
  }

  async #installedSource(catalog: Catalog, spec: PackageVersion): Promise<string | undefined> {
    for (const path of this.#names.sourceArchives(spec.name)) {
      const installed = await this.#installedFile(catalog, spec, path);
      if (installed !== undefined) return installed;
    }
    return undefined;
  }

  #sourceNotOffered(catalog: Catalog, release: string, spec: PackageVersion): KmendError {
    const versions = catalog.packages[spec.name] ?? [];
    const offered = versions.filter((version) => version.offered).map(({ version }) => version);
    const usable = listKernels(catalog, this.#names).filter((kernel) => kernel.hasSource);
    return new KmendError({
      code: "SOURCE_NOT_OFFERED",
      message: `the archive does not offer the source of kernel ${release}: ${spec.name} in version ${spec.version}`,
      why: `the source must have exactly the version of the image; offered are ${offered.join(", ") || "none"}`,
      hint:
        `choose a kernel whose source is available, for example:\n${nearest(usable, release, this.#names)}\n` +
        `or install ${spec.name}=${spec.version} from ${this.#names.history}`,
      exitCode: ExitCode.environment,
    });
  }
}

async function unpackable(archive: string): Promise<string> {
  if (archive.endsWith(".bz2")) await requireProgram("bzip2", "it unpacks the kernel source", "bzip2");
  return archive;
}

/**
 * The version of a release's image package that is meant: that of the running kernel when this is asked for, else the installed one, else the newest
 * whose source can be had, else the newest.
 */
function chooseImage(catalog: Catalog, release: string, request: KernelRequest, names: AptNames): CatalogVersion {
  const versions = catalog.images[release] ?? [];
  if (versions.length === 0) throw notOffered(catalog, release, request, names);
  if (request.kind === "running") {
    const named = names.packageVersionIn({ release, version: request.banner });
    const running = versions.find(({ version }) => version === named);
    if (running !== undefined) return running;
    if (named !== undefined) {
      throw new KmendError({
        code: "RUNNING_VERSION_NOT_OFFERED",
        message: `the running kernel ${release} is of a version that is neither installed nor on offer any more`,
        where: request.banner,
        why: `there are ${versions.map(({ version }) => version).join(", ")}`,
        hint: "reboot into the installed kernel, or choose a kernel with --kernel",
        exitCode: ExitCode.environment,
      });
    }
  }
  return (
    versions.find(({ installed }) => installed) ??
    versions.find((version) => hasSource(catalog, release, version, names)) ??
    (versions[0] as CatalogVersion)
  );
}

function isOffered(catalog: Catalog, name: string, version: string): boolean {
  return catalog.packages[name]?.some((known) => known.version === version && known.offered) === true;
}

function isInstalled(catalog: Catalog, name: string, version: string): boolean {
  return catalog.packages[name]?.some((known) => known.version === version && known.installed) === true;
}

function hasSource(catalog: Catalog, release: string, image: CatalogVersion, names: AptNames): boolean {
  const spec = names.sourcePackage(catalog, release, image);
  return catalog.packages[spec.name]?.some(({ version }) => version === spec.version) === true;
}

function listKernels(catalog: Catalog, names: AptNames): OfferedKernel[] {
  return Object.entries(catalog.images)
    .map(([release, versions]) => {
      const image = versions.find(({ installed }) => installed) ?? (versions[0] as CatalogVersion);
      return {
        release,
        packageVersion: image.version,
        installed: image.installed,
        hasSource: hasSource(catalog, release, image, names),
      };
    })
    .sort(
      (a, b) =>
        compareDebianVersions(a.packageVersion, b.packageVersion) || compareDebianVersions(a.release, b.release),
    );
}

function notOffered(catalog: Catalog, release: string, request: KernelRequest, names: AptNames): KmendError {
  const running = request.kind === "running";
  return new KmendError({
    code: running ? "RUNNING_KERNEL_NOT_PACKAGED" : "KERNEL_NOT_OFFERED",
    message: running
      ? `the running kernel ${release} is not a kernel of this distribution`
      : `there is no kernel ${release}`,
    why: `kmend needs its image, config, headers and source; the nearest available are:\n${nearest(listKernels(catalog, names), release, names)}`,
    hint: `choose one with --kernel RELEASE${catalog.newest === undefined ? "" : `, or --kernel newest for ${catalog.newest}`}`,
    exitCode: ExitCode.usage,
  });
}

function nearest(kernels: readonly OfferedKernel[], asked: string, { plain }: AptNames): string {
  return nearestReleases(kernels, { asked, running: runningRelease(), plain });
}

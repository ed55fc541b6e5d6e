import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { arch } from "node:os";
import { join } from "node:path";
import { exists } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { once } from "../../support/once.ts";
import { type PackageVersion, unpackedPackages } from "./apt.ts";
import { type Catalog, type CatalogVersion, readCatalog } from "./debian-catalog.ts";
import { compareDebianVersions, upstreamVersion } from "./debian-version.ts";
import type {
  Distribution,
  DistributionContext,
  ImageNames,
  KernelFiles,
  KernelRequest,
  OfferedKernel,
} from "./distribution.ts";

/** Debian's names of the machine architectures that Node names. */
const architectures: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64", ppc64: "ppc64el" };

/** Debian's kernels, in all flavours: `linux-image-<release>`, `linux-headers-<release>` and `linux-source-<x.y>` of one version. */
export class Debian implements Distribution {
  readonly name = "debian";
  /** Where installed files are looked for; `/` but in tests. */
  readonly #root: string;
  readonly #architecture: string;

  constructor(root = "/", architecture = architectures[arch()] ?? arch()) {
    this.#root = root;
    this.#architecture = architecture;
  }

  /** Debian's banner ends with the package version, for example `… Debian 6.1.9-1 (2024-01-31)`. */
  packageVersionIn({ version }: ImageNames): string | undefined {
    return / Debian (\d\S*)/.exec(version)?.[1];
  }

  async kernels(context: DistributionContext): Promise<readonly OfferedKernel[]> {
    return listKernels(await readCatalog(this.#architecture, context));
  }

  async newest(context: DistributionContext): Promise<string> {
    return this.#newest(await readCatalog(this.#architecture, context));
  }

  async fetch(request: KernelRequest, context: DistributionContext): Promise<KernelFiles> {
    const catalog = await readCatalog(this.#architecture, context);
    const release = request.kind === "newest" ? this.#newest(catalog) : request.release;
    const image = chooseImage(catalog, release, request);
    if (!image.installed) this.#requireOffered(catalog, `linux-image-${release}`, image);
    const { version } = image;
    const headers = `linux-headers-${release}`;
    const here = image.installed ? await this.#installedImage(release) : undefined;
    const symversHere = await this.#installedFile(
      catalog,
      { name: headers, version },
      `usr/src/${headers}/Module.symvers`,
    );
    const wanted = [
      ...(here === undefined ? [{ name: `linux-image-${release}`, version }] : []),
      ...(symversHere === undefined ? [{ name: headers, version }] : []),
    ];
    const folders = await this.#unpack(catalog, wanted, context);
    const headersFolder = symversHere === undefined ? folders.at(-1) : undefined;
    return {
      release,
      packageVersion: version,
      ...(here ?? (await imageFiles(folders[0] as string, release))),
      symversPath: symversHere ?? join(headersFolder as string, `usr/src/${headers}/Module.symvers`),
      source: once(async () => ({
        kind: "archive" as const,
        path: await this.#sourceArchive(catalog, release, image, context),
      })),
    };
  }

  #newest(catalog: Catalog): string {
    if (catalog.newest !== undefined) return catalog.newest;
    const plain = new RegExp(`^[\\d.]+(-\\d+|\\+deb\\d+)?-${this.#architecture}$`);
    const newest = listKernels(catalog)
      .filter(({ release }) => plain.test(release))
      .at(-1);
    if (newest !== undefined) return newest.release;
    throw new KmendError({
      code: "KERNEL_NOT_OFFERED",
      message: `no kernel for ${this.#architecture} is on offer`,
      hint: "run: sudo apt-get update",
      exitCode: ExitCode.environment,
    });
  }

  async #unpack(
    catalog: Catalog,
    wanted: readonly PackageVersion[],
    context: DistributionContext,
  ): Promise<readonly string[]> {
    if (wanted.length === 0) return [];
    for (const { name, version } of wanted) {
      if (name.startsWith("linux-image-")) continue;
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
      hint: "choose another kernel with --kernel, or install the package of that version from snapshot.debian.org",
      exitCode: ExitCode.environment,
    });
  }

  /** Files of an installed image package, or undefined when one is missing or unreadable. */
  async #installedImage(
    release: string,
  ): Promise<{ imagePath: string; configPath: string; modulesDir: string } | undefined> {
    const files = await imageFiles(this.#root, release);
    const readable = await Promise.all(Object.values(files).map(isReadable));
    return readable.every(Boolean) ? files : undefined;
  }

  async #installedFile(catalog: Catalog, spec: PackageVersion, path: string): Promise<string | undefined> {
    const known = catalog.packages[spec.name]?.find(({ version }) => version === spec.version);
    const file = join(this.#root, path);
    return known?.installed === true && (await isReadable(file)) ? file : undefined;
  }

  async #sourceArchive(
    catalog: Catalog,
    release: string,
    image: CatalogVersion,
    context: DistributionContext,
  ): Promise<string> {
    const spec = sourcePackage(image);
    const path = `usr/src/${spec.name}.tar.xz`;
    const installed = await this.#installedFile(catalog, spec, path);
    if (installed !== undefined) return installed;
    const versions = catalog.packages[spec.name] ?? [];
    if (!versions.some(({ version, offered }) => offered && version === spec.version)) {
      const offered = versions.filter((version) => version.offered).map(({ version }) => version);
      const usable = listKernels(catalog).filter((kernel) => kernel.hasSource);
      throw new KmendError({
        code: "SOURCE_NOT_OFFERED",
        message: `the archive does not offer the source of kernel ${release}: ${spec.name} in version ${spec.version}`,
        why: `the source must have exactly the version of the image; offered are ${offered.join(", ") || "none"}`,
        hint:
          `choose a kernel whose source is on offer:\n${describeReleases(usable)}\n` +
          `or install ${spec.name}=${spec.version} from snapshot.debian.org`,
        exitCode: ExitCode.environment,
      });
    }
    const [folder] = await context.progress.phase("source", "Fetch kernel source", (status) =>
      unpackedPackages([spec], context, status),
    );
    return join(folder as string, path);
  }
}

/** The package with the source of an image: series of the version, for example `linux-source-6.1` for 6.1.9-2. */
export function sourcePackage(image: CatalogVersion): PackageVersion {
  const version = image.source?.version ?? image.version;
  const series = /^\d+\.\d+/.exec(upstreamVersion(version))?.[0] ?? upstreamVersion(version);
  return { name: `linux-source-${series}`, version };
}

/**
 * The version of a release's image package that is meant: that of the running kernel when this is asked for, else the installed one, else the newest
 * whose source can be had, else the newest.
 */
function chooseImage(catalog: Catalog, release: string, request: KernelRequest): CatalogVersion {
  const versions = catalog.images[release] ?? [];
  if (versions.length === 0) throw notOffered(catalog, release, request);
  if (request.kind === "running") {
    const running = versions.find(({ version }) => request.banner.includes(` ${version} `));
    if (running !== undefined) return running;
    if (/Debian \d/.test(request.banner)) {
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
    versions.find((version) => hasSource(catalog, version)) ??
    (versions[0] as CatalogVersion)
  );
}

function hasSource(catalog: Catalog, image: CatalogVersion): boolean {
  const spec = sourcePackage(image);
  return catalog.packages[spec.name]?.some(({ version }) => version === spec.version) === true;
}

function listKernels(catalog: Catalog): OfferedKernel[] {
  return Object.entries(catalog.images)
    .map(([release, versions]) => {
      const image = versions.find(({ installed }) => installed) ?? (versions[0] as CatalogVersion);
      return {
        release,
        packageVersion: image.version,
        installed: image.installed,
        hasSource: hasSource(catalog, image),
      };
    })
    .sort(
      (a, b) =>
        compareDebianVersions(a.packageVersion, b.packageVersion) || compareDebianVersions(a.release, b.release),
    );
}

function notOffered(catalog: Catalog, release: string, request: KernelRequest): KmendError {
  const running = request.kind === "running";
  return new KmendError({
    code: running ? "RUNNING_KERNEL_NOT_PACKAGED" : "KERNEL_NOT_OFFERED",
    message: running
      ? `the running kernel ${release} is not a kernel of this distribution`
      : `there is no kernel ${release}`,
    why: `kmend needs its image, config, headers and source; on offer are:\n${describeReleases(listKernels(catalog))}`,
    hint: `choose one with --kernel RELEASE${catalog.newest === undefined ? "" : `, or --kernel newest for ${catalog.newest}`}`,
    exitCode: ExitCode.usage,
  });
}

/** One line per flavour, oldest first, for error messages. */
export function describeReleases(kernels: readonly OfferedKernel[]): string {
  const flavours = new Map<string, string[]>();
  for (const { release, installed, hasSource: source } of kernels) {
    const flavour = /^[\d.]+(?:[+~][^-]*)?(?:-\d+)?-(.*)$/.exec(release)?.[1] ?? "";
    const remarks = [...(installed ? ["installed"] : []), ...(source ? [] : ["no source"])];
    const text = remarks.length === 0 ? release : `${release} (${remarks.join(", ")})`;
    flavours.set(flavour, [...(flavours.get(flavour) ?? []), text]);
  }
  return [...flavours.values()].map((releases) => `  ${releases.join(", ")}`).join("\n");
}

async function imageFiles(
  root: string,
  release: string,
): Promise<{ imagePath: string; configPath: string; modulesDir: string }> {
  const merged = join(root, "usr/lib/modules", release);
  return {
    imagePath: join(root, "boot", `vmlinuz-${release}`),
    configPath: join(root, "boot", `config-${release}`),
    modulesDir: (await exists(merged)) ? merged : join(root, "lib/modules", release),
  };
}

async function isReadable(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
}

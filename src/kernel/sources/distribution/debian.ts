import { arch } from "node:os";
import type { PackageVersion } from "./apt.ts";
import { AptKernels, type AptNames, type AptPlaces } from "./apt-kernels.ts";
import type { CatalogVersion } from "./catalog.ts";
import { compareDebianVersions, upstreamVersion } from "./debian-version.ts";
import { sourcePatches } from "./source-patches.ts";

/** Debian's names of the machine architectures that Node names. */
export const debianArchitectures: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64", ppc64: "ppc64el" };

/**
 * Debian's kernels, in all flavours: `linux-image-<release>`, `linux-headers-<release>` and `linux-source-<x.y>` of one version. Where the image package is empty
 * (Linux 7.0 and later), the packages of the same release that it depends on hold image, modules and what belongs to both.
 */
export class Debian extends AptKernels {
  constructor(places: AptPlaces = {}, architecture = debianArchitectures[arch()] ?? arch()) {
    super(debianNames(architecture), places);
  }
}

function debianNames(architecture: string): AptNames {
  return {
    name: "debian",
    catalog: {
      key: `debian-${architecture}`,
      wanted: new RegExp(`^linux-([a-z]+-\\d.*-${architecture}|source-\\d.*)$`),
      installed: ["linux-*-[0-9]*"],
      meta: `linux-image-${architecture}`,
      // `6.1.0-9-amd64` and `6.12.9+deb12-amd64` are releases; `6.12-amd64` names a package that depends on the newest one.
      releaseOf: (name) => /^linux-image-(\d+\.\d+\.\d+.*?)(?:-unsigned)?$/.exec(name)?.[1],
    },
    plain: new RegExp(`^[\\d.]+(-\\d+|\\+deb\\d+)?-${architecture}$`),
    architectureSuffix: `-${architecture}`,
    companions: () => [],
    furtherModules: () => [],
    sourcePackage: (_, __, image) => sourcePackage(image),
    sourceArchives: (name) => [`usr/src/${name}.tar.xz`],
    history: "snapshot.debian.org",
    // The real-time flavours; `linux-source-…` holds what the others are built from.
    patches: (release, image, context) =>
      /-rt-[a-z0-9]+$/.test(release) && hasRealTimePatches(image)
        ? sourcePatches(sourceOf(image), "rt", context)
        : undefined,
    // The banner ends with it, for example `#1 SMP PREEMPT_DYNAMIC Debian 6.1.9-1 (2024-01-31)`.
    // LINUX_PACKAGE_ID, which Debian's patch of the top Makefile makes of these, is part of texts in lib/dump_stack.c and kernel/hung_task.c.
    makeFlags: (version) => [
      ...["DISTRIBUTION_OFFICIAL_BUILD=1", "DISTRIBUTOR=Debian", `DISTRIBUTION_VERSION=${version}`],
      ...namesOfHeaders(version),
    ],
    packageVersionIn: ({ version }) => / Debian (\d\S*)/.exec(version)?.[1],
  };
}

/**
 * Debian builds in a folder beside the source, where `__FILE__` of a header is `include/linux/bitmap.h`. In the source itself it is `./include/linux/bitmap.h`: the top
 * Makefile of 7.3 takes the folder of the source off (-fmacro-prefix-map) only `ifdef building_out_of_srctree`, and that of 6.12 in any case.
 */
function namesOfHeaders(version: string): string[] {
  const isConditional = compareDebianVersions(version, "6.13~") >= 0;
  return isConditional ? ["KCPPFLAGS=-fmacro-prefix-map=./="] : [];
}

/** The changelog of 6.13.9-1 says that the patches are gone, and that the real-time flavour is a configuration of the same source. */
function hasRealTimePatches(image: CatalogVersion): boolean {
  return compareDebianVersions(sourceOf(image).version, "6.13.9-1~exp1") < 0;
}

function sourceOf({ source, version }: CatalogVersion): PackageVersion {
  return { name: source?.name ?? "linux", version: source?.version ?? version };
}

/** The package with the source of an image: series of the version, for example `linux-source-6.1` for 6.1.9-2. */
function sourcePackage(image: CatalogVersion): PackageVersion {
  const { version } = sourceOf(image);
  const series = /^\d+\.\d+/.exec(upstreamVersion(version))?.[0] ?? upstreamVersion(version);
  return { name: `linux-source-${series}`, version };
}

import { compareDebianVersions, upstreamVersion } from "../../src/kernel/sources/distribution/debian-version.ts";
import type { OfferedKernel } from "../../src/kernel/sources/distribution/distribution.ts";
import { ExitCode, KmendError } from "../../src/support/errors.ts";

/** Two kernels of one series, both with their source on offer. */
export interface VersionPair {
  readonly older: OfferedKernel;
  readonly newer: OfferedKernel;
}

/**
 * Chooses what is compared: the given versions, else the oldest and the newest of the newest series that has at least two.
 * @param from a release, a package version, or the beginning of either; the same for `to`.
 * @throws KmendError `NO_VERSION_PAIR` (exit 2) with what there is.
 */
export function choosePair(kernels: readonly OfferedKernel[], from?: string, to?: string): VersionPair {
  const usable = plainFlavour(kernels.filter(({ hasSource }) => hasSource));
  const named = (name: string): OfferedKernel | undefined =>
    usable.find(({ release, packageVersion }) => release === name || packageVersion === name) ??
    usable.find(({ release, packageVersion }) => isBeginning(name, release) || isBeginning(name, packageVersion));
  const seriesNames = [...new Set(usable.map(({ packageVersion }) => seriesOf(packageVersion)))];
  const membersOf = (name: string): OfferedKernel[] =>
    usable.filter(({ packageVersion }) => seriesOf(packageVersion) === name);
  const series =
    from === undefined && to === undefined
      ? seriesNames.map(membersOf).findLast((members) => members.length > 1)
      : membersOf(seriesOf((named(from ?? "") ?? named(to ?? ""))?.packageVersion ?? ""));
  const older = from === undefined ? series?.[0] : named(from);
  const newer = to === undefined ? series?.at(-1) : named(to);
  if (older !== undefined && newer !== undefined && older !== newer) return { older, newer };
  throw new KmendError({
    code: "NO_VERSION_PAIR",
    message: "there are no two kernels of one series to compare",
    why: `with their source on offer: ${usable.map(({ packageVersion }) => packageVersion).join(", ") || "none"}`,
    hint: "give two of them with --from and --to, or run: sudo apt-get update",
    exitCode: ExitCode.usage,
  });
}

/** One kernel for each package version, in the flavour with the shortest name; oldest first. */
function plainFlavour(kernels: readonly OfferedKernel[]): OfferedKernel[] {
  const byVersion = new Map<string, OfferedKernel>();
  for (const kernel of kernels) {
    const known = byVersion.get(kernel.packageVersion);
    if (known === undefined || kernel.release.length < known.release.length)
      byVersion.set(kernel.packageVersion, kernel);
  }
  return [...byVersion.values()].sort((a, b) => compareDebianVersions(a.packageVersion, b.packageVersion));
}

function seriesOf(version: string): string {
  return /^\d+\.\d+/.exec(upstreamVersion(version))?.[0] ?? version;
}

function isBeginning(part: string, whole: string): boolean {
  return part !== "" && whole.startsWith(part) && !/^\d/.test(whole.slice(part.length));
}

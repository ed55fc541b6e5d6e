import { compareDebianVersions } from "./debian-version.ts";
import type { OfferedKernel } from "./distribution.ts";

/** How many releases of the flavour that is meant an error names, and how many of the others. */
const ownLimit = 5;
const otherLimit = 3;

/** What {@link nearestReleases} compares with. */
export interface ReleaseInMind {
  /** The release that was asked for. */
  readonly asked: string;
  /** Release of the kernel that runs here: says which flavour this machine uses. */
  readonly running: string;
  /** Releases of the plain flavour, for machines whose own kernel is not on offer. */
  readonly plain: RegExp;
}

/** The releases on offer that are nearest to the one in mind, nearest first: a line for its flavour, one for the others, and how many are left out. */
export function nearestReleases(kernels: readonly OfferedKernel[], mind: ReleaseInMind): string {
  if (kernels.length === 0) return "  none";
  const own = ownFlavour(kernels, mind);
  const near = byDistance(kernels, mind.asked);
  const isOwn = ({ release }: OfferedKernel): boolean => flavourOf(release) === own;
  const shown = [near.filter(isOwn).slice(0, ownLimit), near.filter((each) => !isOwn(each)).slice(0, otherLimit)];
  const lines = shown.filter((line) => line.length > 0).map((line) => `  ${line.map(describe).join(", ")}`);
  const rest = kernels.length - shown.flat().length;
  return [...lines, ...(rest > 0 ? [`  and ${rest} more: apt-cache search ^linux-image-`] : [])].join("\n");
}

/** What follows the numbers of a release: `cloud-amd64` of `6.1.0-9-cloud-amd64`. */
function flavourOf(release: string): string {
  return /^[\d.]+(?:[+~][^-]*)?(?:-\d+)?-([a-z].*)$/.exec(release)?.[1] ?? "";
}

/** That of the release asked for if the archive has it, else that of this machine, else the plain one. */
function ownFlavour(kernels: readonly OfferedKernel[], { asked, running, plain }: ReleaseInMind): string | undefined {
  const offered = new Set(kernels.map(({ release }) => flavourOf(release)));
  const named = [asked, running].map(flavourOf).find((flavour) => offered.has(flavour));
  return named ?? flavourOf(kernels.find(({ release }) => plain.test(release))?.release ?? "");
}

/** Its own series first, then by how many releases lie between; of two as far, the newer first, as fixes go forward. */
function byDistance(kernels: readonly OfferedKernel[], asked: string): OfferedKernel[] {
  const numbers = (release: string): string =>
    release.slice(0, release.length - flavourOf(release).length).replace(/-$/, "");
  const compare = (a: string, b: string): number => compareDebianVersions(numbers(a), numbers(b));
  const steps = [...new Set(kernels.map(({ release }) => numbers(release)))].sort(compareDebianVersions);
  const at = steps.findIndex((step) => compare(step, asked) >= 0);
  const exact = at >= 0 && compare(steps[at] as string, asked) === 0;
  // Between two of them when it is none itself.
  const position = at < 0 ? steps.length : exact ? at : at - 0.5;
  const distance = ({ release }: OfferedKernel): number => Math.abs(steps.indexOf(numbers(release)) - position);
  const other = ({ release }: OfferedKernel): number => (seriesOf(release) === seriesOf(asked) ? 0 : 1);
  return [...kernels].sort((a, b) => other(a) - other(b) || distance(a) - distance(b) || compare(b.release, a.release));
}

/** `6.1` of `6.1.0-56-amd64`. */
export function seriesOf(release: string): string {
  return /^\d+\.\d+/.exec(release)?.[0] ?? release;
}

function describe({ release, installed, hasSource }: OfferedKernel): string {
  const remarks = [...(installed ? ["installed"] : []), ...(hasSource ? [] : ["no source"])];
  return remarks.length === 0 ? release : `${release} (${remarks.join(", ")})`;
}

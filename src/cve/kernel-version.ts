/**
 * A version as kernel.org counts them: `6.1.192`, `6.13`, `6.13-rc7`, and the older `2.6.36.4`.
 */
export interface KernelVersion {
  /** Numbers between the dots. */
  readonly parts: readonly number[];
  /** Number of the release candidate; undefined for a release. */
  readonly candidate: number | undefined;
  /** `6.1`: what all stable releases of one mainline release have in common. */
  readonly series: string;
  readonly text: string;
}

/**
 * Reads the version at the start of a text, so that a release (`6.1.192-amd64`) and a package version (`6.1.192-3~deb12u1`) are understood too.
 * @returns undefined when the text does not begin with one.
 */
export function parseKernelVersion(text: string): KernelVersion | undefined {
  const found = /^v?(\d{1,5}(?:\.\d{1,5}){1,3})(?:[-~]rc(\d{1,3}))?(?![\w.]*\.\d)/.exec(text);
  if (found === null) return undefined;
  const [, numbers = "", candidate] = found;
  const parts = numbers.split(".").map(Number);
  return {
    parts,
    candidate: candidate === undefined ? undefined : Number(candidate),
    // Linux 2.6 was one series for each of its third numbers.
    series: parts.slice(0, parts[0] === 2 ? 3 : 2).join("."),
    text: candidate === undefined ? numbers : `${numbers}-rc${candidate}`,
  };
}

/** @returns a negative number when `a` came before `b`, 0 when they are equal, a positive number when it came after. */
export function compareKernelVersions(a: KernelVersion, b: KernelVersion): number {
  for (let index = 0; index < Math.max(a.parts.length, b.parts.length); index++) {
    const order = (a.parts[index] ?? 0) - (b.parts[index] ?? 0);
    if (order !== 0) return order;
  }
  return (a.candidate ?? Number.POSITIVE_INFINITY) === (b.candidate ?? Number.POSITIVE_INFINITY)
    ? 0
    : (a.candidate ?? Number.POSITIVE_INFINITY) - (b.candidate ?? Number.POSITIVE_INFINITY);
}

/** True for a version of Linus's tree, on which all later series rest: `6.13`, `6.13-rc7`, `2.6.36`. */
export function isMainline({ parts }: KernelVersion): boolean {
  return parts.length <= (parts[0] === 2 ? 3 : 2);
}

import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import { compareDebianVersions, upstreamVersion } from "../../src/kernel/sources/distribution/debian-version.ts";
import { cacheRoot } from "../../src/support/cache.ts";
import { SilentProgress } from "../../src/support/progress.ts";

/** The youngest kernel of the newest one's series that is of an older upstream version, and whose source is on offer. */
export async function pairOfVersions(): Promise<{ from: string; to: string }> {
  const context = { cache: cacheRoot(), progress: new SilentProgress() };
  const distribution = new Debian();
  const to = await distribution.newest(context);
  const kernels = await distribution.kernels(context);
  const newest = upstreamVersion(kernels.find(({ release }) => release === to)?.packageVersion ?? "");
  const series = newest.split(".").slice(0, 2).join(".");
  const from = kernels
    .filter(({ packageVersion, hasSource }) => hasSource && packageVersion.startsWith(`${series}.`))
    .map(({ packageVersion }) => packageVersion)
    .filter((version) => compareDebianVersions(upstreamVersion(version), newest) < 0)
    .at(-1);
  if (from === undefined) throw new Error(`the archive has no source older than ${newest} of its series`);
  return { from, to };
}

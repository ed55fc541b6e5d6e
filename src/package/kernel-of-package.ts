import { type ArchiveChoice, chooseDistribution } from "../kernel/sources/distribution/choose.ts";
import type { Distribution } from "../kernel/sources/distribution/distribution.ts";
import { cacheRoot } from "../support/cache.ts";
import { KmendError } from "../support/errors.ts";
import { type Progress, SilentProgress } from "../support/progress.ts";

/** Releases as Red Hat, Fedora, Amazon and SUSE make them: no archive that kmend knows has those, but packages for them may be written here. */
const elsewhere = /\.(?:el|fc|amzn)\d|-default$/;

/** Where kernels are looked for. */
export interface KernelArchive {
  /** Default the archives of this machine. */
  readonly archive?: ArchiveChoice | undefined;
  /** Of which series `newest` is; default the one that the distribution installs. */
  readonly series?: string | undefined;
  /** Whether something is to be built for the kernel later, so that its packages and source have to be on offer. */
  readonly toBuild?: boolean | undefined;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The release of a kernel (or `newest`) that a package is to be built for: whole, also when the user left out its architecture. What no archive that is known here can
 * have stays as it is.
 * @throws KmendError `KERNEL_NOT_OFFERED` (exit 2) when there is no such kernel, `PACKAGE_NOT_OFFERED` or `SOURCE_NOT_OFFERED` (exit 5) when it cannot be built any more.
 */
export async function kernelOfPackage(kernel: string, options: KernelArchive): Promise<string> {
  const { archive, series, toBuild, progress, signal } = options;
  if (elsewhere.test(kernel)) return kernel;
  let distribution: Distribution;
  try {
    distribution = await chooseDistribution(archive);
  } catch (error) {
    if (error instanceof KmendError && error.code === "DISTRIBUTION_UNKNOWN" && kernel !== "newest") return kernel;
    throw error;
  }
  const context = { cache: cacheRoot(), progress: progress ?? new SilentProgress(), signal };
  return kernel === "newest"
    ? distribution.newest(context, series)
    : distribution.releaseNamed(kernel, context, toBuild);
}

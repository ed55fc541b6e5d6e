import { release as runningRelease, version as runningVersion } from "node:os";
import { join } from "node:path";
import { cacheRoot } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { type Progress, SilentProgress } from "../support/progress.ts";
import { KernelImage } from "./image/kernel-image.ts";
import type { KernelChoice } from "./kernel-choice.ts";
import { chooseDistribution } from "./sources/distribution/choose.ts";
import type {
  Distribution,
  DistributionContext,
  KernelFiles,
  KernelRequest,
} from "./sources/distribution/distribution.ts";
import { RpmKernels } from "./sources/rpm/rpm-kernels.ts";
import { findInTree, type MakeImage } from "./tree-kernel.ts";

/** The kernel that is to be patched, with its files; none of them is ever changed. */
export interface TargetKernel extends KernelFiles {
  /** Name of the distribution that it comes from, for example `debian`. */
  readonly distribution: string;
  /** The opened image: sections, banner, kallsyms, BTF. */
  readonly image: KernelImage;
  /** GNU build id, lower case hexadecimal. */
  readonly buildId: string;
  /** Folder of the cache for everything that belongs to this kernel build. */
  readonly folder: string;
}

/** A choice, and how it is carried out. */
export interface FindOptions extends KernelChoice {
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Cache folder; default {@link cacheRoot}. */
  readonly cache?: string | undefined;
  readonly distribution?: Distribution | undefined;
  /** Compilers at once when an image is built; default all cores. */
  readonly jobs?: number | undefined;
  /** Builds the image of `source` when there is none; default {@link buildImage}. False: that is an error, since it takes long. */
  readonly makeImage?: MakeImage | false | undefined;
}

/**
 * The one front door: finds the target kernel and its files, from packages or from a source tree of the user's, downloads or builds what is missing, and opens
 * its image.
 * @throws KmendError `RUNNING_KERNEL_NOT_PACKAGED` or `KERNEL_NOT_OFFERED` (exit 2) with the releases on offer, `IMAGE_OF_OTHER_KERNEL` when image and
 * release do not belong together, and all errors of downloading (exit 5) and of the image.
 */
export async function findTargetKernel(options: FindOptions = {}): Promise<TargetKernel> {
  const progress = options.progress ?? new SilentProgress();
  const cache = options.cache ?? cacheRoot();
  if (options.source !== undefined) return findInTree(options.source, options, cache, progress);
  const distribution =
    options.distribution ??
    (options.rpms === undefined ? await chooseDistribution(options.archive) : new RpmKernels(options.rpms));
  const context: DistributionContext = { cache, progress, signal: options.signal };
  const given =
    options.image === undefined ? undefined : await openImage(options.image, cache, progress, options.signal);
  const files = await progress.phase("kernel", "Find the target kernel", () =>
    distribution.fetch(requestFor(options, given), context),
  );
  const image = given ?? (await openImage(files.imagePath, cache, progress, options.signal));
  requireSameKernel(image, files, distribution);
  return {
    ...files,
    imagePath: options.image ?? files.imagePath,
    distribution: distribution.name,
    image,
    buildId: image.buildId,
    folder: join(
      cache,
      "kernels",
      [image.buildId, ...(files.sourceKey === undefined ? [] : [files.sourceKey])].join("-"),
    ),
  };
}

function openImage(
  path: string,
  cache: string,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<KernelImage> {
  return progress.phase("image", "Open the kernel image", async () => {
    const image = await KernelImage.open(path, cache, signal);
    await image.readBanner(cache);
    return image;
  });
}

function requestFor({ kernel, series }: KernelChoice, image: KernelImage | undefined): KernelRequest {
  if (kernel === "newest") return { kind: "newest", series };
  if (kernel !== undefined && kernel !== "") return { kind: "release", release: kernel };
  if (image !== undefined) return { kind: "release", release: image.banner.release };
  return { kind: "running", release: runningRelease(), banner: runningVersion() };
}

function requireSameKernel(image: KernelImage, files: KernelFiles, distribution: Distribution): void {
  const { banner } = image;
  const named = distribution.packageVersionIn(banner);
  if (banner.release === files.release && (named === undefined || named === files.packageVersion)) return;
  throw new KmendError({
    code: "IMAGE_OF_OTHER_KERNEL",
    message: `the image is that of kernel ${banner.release}${named === undefined ? "" : ` ${named}`}, not of ${files.release} ${files.packageVersion}`,
    where: image.unpacked.path,
    why: "config, modules and source must belong to exactly the kernel that runs",
    hint: `give --kernel ${banner.release}, or the image of ${files.release}`,
    exitCode: ExitCode.usage,
  });
}

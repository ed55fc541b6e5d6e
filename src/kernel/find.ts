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
import type { FindOptions, TargetKernel } from "./target-kernel.ts";
import { findInTree } from "./tree-kernel.ts";

/**
 * The one front door: finds the target kernel and its files, from packages or from a source tree of the user's, downloads or builds what is missing, and opens
 * its image.
 * @throws KmendError `RUNNING_KERNEL_NOT_PACKAGED` or `KERNEL_NOT_OFFERED` (exit 2) with the releases on offer, `IMAGE_OF_OTHER_KERNEL` when image and
 * release do not belong together, and all errors of downloading (exit 5) and of the image.
 */
export async function findTargetKernel(options: FindOptions = {}): Promise<TargetKernel> {
  const progress = options.progress ?? new SilentProgress();
  const cache = cacheRoot();
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

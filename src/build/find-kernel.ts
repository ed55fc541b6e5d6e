import { type FindOptions, findTargetKernel, type TargetKernel } from "../kernel/find.ts";
import { buildImage } from "../kernel/tree/build-image.ts";

/**
 * Finds the target kernel as {@link findTargetKernel} does; a source tree without any image is built.
 * @throws KmendError of {@link findTargetKernel} and {@link buildImage}.
 */
export function findKernel(options: FindOptions): Promise<TargetKernel> {
  return findTargetKernel({ makeImage: buildImage, ...options });
}

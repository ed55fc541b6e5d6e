import type { Progress } from "../support/progress.ts";
import type { KernelImage } from "./image/kernel-image.ts";
import type { KernelChoice } from "./kernel-choice.ts";
import type { Distribution, KernelFiles, KernelSource } from "./sources/distribution/distribution.ts";
import type { CompanionFiles } from "./sources/source-tree.ts";

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

/** Builds a whole kernel, or finds the one that it built before. */
export type MakeImage = (request: ImageRequest) => Promise<CompanionFiles & { readonly imagePath: string }>;

/** A choice, and how it is carried out. */
export interface FindOptions extends KernelChoice {
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly distribution?: Distribution | undefined;
  /** Compilers at once when an image is built; default all cores. */
  readonly jobs?: number | undefined;
  /** Builds the image of `source` when there is none; default {@link buildImage}. False: that is an error, since it takes long. */
  readonly makeImage?: MakeImage | false | undefined;
}

/** What {@link MakeImage} is asked for. */
export interface ImageRequest {
  readonly source: KernelSource;
  readonly configPath: string;
  /** Folder of the cache for what is built from exactly this source and configuration. */
  readonly folder: string;
  readonly makeFlags?: readonly string[] | undefined;
  /** Compilers at once; default all cores. */
  readonly jobs?: number | undefined;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

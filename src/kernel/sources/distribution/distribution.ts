import type { Progress } from "../../../support/progress.ts";
import type { CompilerArchive } from "./compiler-archive.ts";

/** One kernel that is installed or can be downloaded. */
export interface OfferedKernel {
  /** What `uname -r` prints on it, for example `6.1.0-9-amd64`. */
  readonly release: string;
  /** Version of its image package. */
  readonly packageVersion: string;
  readonly installed: boolean;
  /** Kernel source of exactly this version is installed or can be downloaded. */
  readonly hasSource: boolean;
}

/** Which kernel is wanted. */
export type KernelRequest =
  | { readonly kind: "running"; readonly release: string; readonly banner: string }
  /** `series`: of this series, such as `6.12`; default the one that the distribution installs. */
  | { readonly kind: "newest"; readonly series?: string | undefined }
  | { readonly kind: "release"; readonly release: string };

/** Where the source of a kernel is. */
export type KernelSource =
  /** A tar file with one top folder. */
  | {
      readonly kind: "archive";
      readonly path: string;
      /** Folder with a file `series` and the patches that it lists, to be applied to what the archive holds. */
      readonly patches?: string | undefined;
    }
  | {
      /** A tree of the user's, which is only read. */
      readonly kind: "tree";
      readonly path: string;
      /** What belongs to it, relative to `path`. */
      readonly files: readonly string[];
      /** True while the tree is what it was when `files` was read. */
      readonly isUnchanged: () => Promise<boolean>;
    };

/** The files of one kernel; all exist when this value is handed out, and all are of the same package version. */
export interface KernelFiles {
  readonly release: string;
  readonly packageVersion: string;
  /** Compressed kernel image. */
  readonly imagePath: string;
  /** Build configuration. */
  readonly configPath: string;
  /** Folder `…/lib/modules/<release>`, or a source tree with built modules; undefined when there are no modules. */
  readonly modulesDir: string | undefined;
  /** Module.symvers: exported symbols with their CRCs. */
  readonly symversPath: string;
  /** Tells sources of one image apart, where it may have several: what is made of each lies in a folder of its own. */
  readonly sourceKey?: string | undefined;
  /** Further arguments of every `make` for this kernel. */
  readonly makeFlags?: readonly string[] | undefined;
  /** Where its compiler can come from, if this machine does not have it; undefined where no archive is known. */
  readonly compilers?: CompilerArchive | undefined;
  /**
   * The kernel's source, downloaded on the first call.
   * @throws KmendError `SOURCE_NOT_OFFERED` when source of exactly this version is neither installed nor on offer.
   */
  readonly source: () => Promise<KernelSource>;
}

/** What a distribution needs from its caller. */
export interface DistributionContext {
  /** The kmend cache folder; packages are unpacked below it. */
  readonly cache: string;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/** What an image says about itself: `version` is that of `uname -v`. */
export interface ImageNames {
  readonly release: string;
  readonly version: string;
}

/** Where kernels come from: one implementation per family of distributions, in a sibling file. */
export interface Distribution {
  readonly name: string;
  /** The package version that an image of this distribution names, where it names one. */
  packageVersionIn(image: ImageNames): string | undefined;
  /** All kernels for this machine's architecture, oldest first. */
  kernels(context: DistributionContext): Promise<readonly OfferedKernel[]>;
  /**
   * The release that this distribution installs by default today, or the newest of a series such as `6.12`.
   * @throws KmendError `KERNEL_NOT_OFFERED` with the series on offer.
   */
  newest(context: DistributionContext, series?: string): Promise<string>;
  /**
   * The release that a user's word names: whole, or without the architecture at its end.
   * @param toBuild whether something is to be built for it later: its packages and its source have to be on offer, or installed.
   * @throws KmendError `KERNEL_NOT_OFFERED` (exit 2) with the nearest releases on offer, `PACKAGE_NOT_OFFERED` or `SOURCE_NOT_OFFERED` (exit 5).
   */
  releaseNamed(name: string, context: DistributionContext, toBuild?: boolean): Promise<string>;
  /**
   * Image, config, modules and symvers of a kernel, installed ones where they match, else downloaded into the cache without root.
   * @throws KmendError `KERNEL_NOT_OFFERED` (exit 2) with the releases on offer, or why a download failed (exit 5).
   */
  fetch(request: KernelRequest, context: DistributionContext): Promise<KernelFiles>;
}

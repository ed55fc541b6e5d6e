import type { ArchiveChoice } from "./sources/distribution/choose.ts";
import type { RpmRequest } from "./sources/rpm/rpm-kernels.ts";
import type { SourceTreeRequest } from "./sources/source-tree.ts";

/** Which kernel is meant, and where its parts come from. Commands make one of their options, and hand it on as it is. */
export interface KernelChoice {
  /** A release such as `6.1.0-9-amd64`, `newest`, or undefined for the running kernel (or that of `image` or `source`). */
  readonly kernel?: string | undefined;
  /** Image file to use in place of the one that belongs to the release. */
  readonly image?: string | undefined;
  /** A kernel source tree of the user's in place of a distribution's packages. */
  readonly source?: Omit<SourceTreeRequest, "image" | "kernel"> | undefined;
  /** Of which series `newest` is, for example `6.12`; default the one that the distribution installs. */
  readonly series?: string | undefined;
  /** Where packages come from; default the archives of this machine. */
  readonly archive?: ArchiveChoice | undefined;
  /** RPMs of one kernel in place of a distribution's archive. */
  readonly rpms?: RpmRequest | undefined;
}

/** The choice alone, of options that have more. */
export function kernelChoice({ kernel, series, image, source, archive, rpms }: KernelChoice): KernelChoice {
  return { kernel, series, image, source, archive, rpms };
}

/** True when nothing says which kernel is meant. */
export function isOpenChoice({ kernel, image, source, rpms }: KernelChoice): boolean {
  return [kernel, image, source, rpms].every((part) => part === undefined);
}

import type { Architecture } from "./package-name.ts";
import type { PackageChoices } from "./package-plan.ts";

/** A module that is built from patches for a package. */
export interface ModuleOrder {
  /** Kernel release, `newest`, or undefined for the running one. */
  readonly kernel: string | undefined;
  readonly name: string;
  /** Patch files in the order in which they are applied. */
  readonly patches: readonly string[];
  /** Vulnerabilities whose fixes stand at the place of some of the patches, by what stands there. */
  readonly fixes?: ReadonlyMap<string, OrderedFix> | undefined;
}

/** A vulnerability whose fix is wanted. */
export interface OrderedFix {
  readonly cve: string;
  /** Full names of commits that are applied before. */
  readonly with: readonly string[];
}

/** What goes into one package. */
export interface PackageOrder {
  readonly choices: PackageChoices;
  /** Finished modules. */
  readonly files: readonly string[];
  /** The kernel that the user believes them to be for. */
  readonly filesFor?: string | undefined;
  readonly modules: readonly ModuleOrder[];
  /** Kernels of an empty package. */
  readonly kernels: readonly string[];
  readonly architecture: Architecture | undefined;
}

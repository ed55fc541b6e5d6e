/** Kinds of repositories. */

import type { Progress } from "../../support/progress.ts";

export type RepositoryKind = "dnf" | "apt";
/** What is done to a repository. */
export interface RepositoryRequest {
  /** Folder of the repository; made when it is missing. */
  readonly folder: string;
  /** Packages to add, all of the repository's kind. */
  readonly packages: readonly string[];
  /** Kind of a new repository without packages; else it follows from what is there. */
  readonly kind?: RepositoryKind | undefined;
  /** gpg key that signs the index; undefined leaves it unsigned. */
  readonly gpgKey?: string | undefined;
  /** How many versions of each package stay; undefined keeps all. */
  readonly keep?: number | undefined;
  /** Name of an apt repository's suite. */
  readonly suite?: string | undefined;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/** A package that lies in a repository. */
export interface RepositoryPackage {
  /** Path relative to the repository. */
  readonly file: string;
  readonly name: string;
  readonly architecture: string;
  readonly version: string;
}

/** What differs between the kinds. */
export interface RepositoryFormat {
  /** Folder of the packages, relative to the repository. */
  readonly pool: string;
  /** Ending of package files. */
  readonly ending: string;
  describe(path: string, file: string): Promise<RepositoryPackage>;
  compareVersions(a: string, b: string): number;
  /** Writes the index of exactly these packages so that readers see the old one or the new one. */
  publish(packages: readonly RepositoryPackage[], request: RepositoryRequest): Promise<void>;
}

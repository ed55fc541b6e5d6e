/** Where a compiler that this machine does not have can come from. */
export interface CompilerArchive {
  /** For messages: the user's file, or `the archive of this machine`. */
  readonly name: string;
  /** Each version of the packages that the archive offers, in the order in which apt names them. */
  offered(names: readonly string[]): Promise<readonly OfferedPackage[]>;
  /** Files with the archive's entries, as sources.list(5) describes them. */
  sources(): Promise<readonly string[]>;
}

/** A version of a package that can be downloaded. */
export interface OfferedPackage {
  readonly name: string;
  readonly version: string;
  /** Bytes of its file. */
  readonly size: number;
}

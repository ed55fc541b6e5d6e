/** One source file that the change touches. */
export interface ChangedFile {
  /** Relative to the kernel source tree. */
  readonly path: string;
  readonly kind: "modified" | "added" | "deleted";
  /** Content before the change; null for an added file. */
  readonly original: Uint8Array | null;
  /** Content after it; null for a deleted file. */
  readonly patched: Uint8Array | null;
}

/** What is to be changed, whatever form it was given in: files before and after. */
export interface ChangeSet {
  readonly files: readonly ChangedFile[];
  /** The inputs, in order, with their SHA-256. */
  readonly patches: readonly { readonly name: string; readonly sha256: string }[];
  /** Remarks such as "applied with fuzz". */
  readonly notes: readonly string[];
}

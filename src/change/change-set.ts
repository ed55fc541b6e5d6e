import { readFile } from "node:fs/promises";
import { join } from "node:path";

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

/** Content of source files that differ from those of a tree, by their paths in it; null for a file that is gone. */
export type SourceOverlay = ReadonlyMap<string, Uint8Array | null>;

/** Content of a source file before a change; null when there is none. */
export async function readOriginal(tree: string, path: string, overlay: SourceOverlay): Promise<Uint8Array | null> {
  const known = overlay.get(path);
  return known === undefined ? readFile(join(tree, path)).catch(() => null) : known;
}

/** The entry of one file, or none when nothing is different. */
export function changedFile(path: string, original: Uint8Array | null, patched: Uint8Array | null): ChangedFile[] {
  if (original === null && patched === null) return [];
  if (original !== null && patched !== null && Buffer.compare(original, patched) === 0) return [];
  return [{ path, kind: original === null ? "added" : patched === null ? "deleted" : "modified", original, patched }];
}

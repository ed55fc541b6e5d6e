import { mkdir, readdir, symlink, unlink, writeFile } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { rethrowDiskErrors } from "../support/cache.ts";

/**
 * A folder that looks like a source tree but is private: symbolic links to the tree's entries, real folders only on the way to the files that differ.
 * Compilers run in it as they would in the tree, and nothing they write reaches the tree.
 */
export interface Shadow {
  readonly path: string;
  /** Files that the shadow has of its own, relative to the tree. */
  readonly own: ReadonlySet<string>;
}

/**
 * Makes a shadow of `tree` in the new folder `path`.
 * @param files content of files that are new or differ; null for a file that is gone.
 * @param folders further folders that have to be real, because something is written there.
 */
export async function createShadow(
  tree: string,
  path: string,
  files: ReadonlyMap<string, Uint8Array | null>,
  folders: readonly string[],
): Promise<Shadow> {
  const real = new Set<string>(["."]);
  const addParents = (folder: string): void => {
    for (let at = folder; at !== "." && at !== ""; at = dirname(at)) real.add(at);
  };
  for (const file of files.keys()) addParents(dirname(file));
  for (const folder of folders) addParents(folder);
  try {
    for (const folder of [...real].sort((a, b) => a.length - b.length)) await mirrorFolder(tree, path, folder, real);
    for (const [file, content] of files) {
      const at = join(path, file);
      await unlink(at).catch(() => {});
      if (content !== null) await writeFile(at, content);
    }
  } catch (error) {
    rethrowDiskErrors(error);
  }
  return { path, own: new Set(files.keys()) };
}

/** What a build writes: a link of such a name would let it write into the tree. */
const outputs = /\.(o|cmd|d|a|mod|order|symvers|ko|s|i)$/;

async function mirrorFolder(tree: string, path: string, folder: string, real: ReadonlySet<string>): Promise<void> {
  await mkdir(join(path, folder), { recursive: true });
  const entries = await readdir(join(tree, folder)).catch(() => [] as string[]);
  await Promise.all(
    entries
      .filter((entry) => !real.has(folder === "." ? entry : `${folder}/${entry}`))
      .filter((entry) => folder === "." || !outputs.test(entry))
      .map((entry) => symlink(join(tree, folder, entry), join(path, folder, entry))),
  );
}

/** Folders that must be real in a shadow so that a compile writes into it: the object's own, and each one that a `..` in its path steps out of. */
export function foldersOf(object: string): string[] {
  const folders = [dirname(normalize(object))];
  const parts = object.split("/");
  parts.forEach((part, index) => {
    if (part === "..") folders.push(normalize(parts.slice(0, index).join("/")));
  });
  return folders;
}

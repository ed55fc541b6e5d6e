import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { rethrowDiskErrors } from "../../support/cache.ts";

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
 * Makes a shadow of `tree` in the new folder `path`. It holds hundreds of links, and making them one after the other without handing each to another
 * thread takes a fifth of the time (10 ms instead of 50).
 * @param files content of files that are new or differ; null for a file that is gone.
 * @param folders further folders that have to be real, because something is written there.
 */
export function createShadow(
  tree: string,
  path: string,
  files: ReadonlyMap<string, Uint8Array | null>,
  folders: readonly string[],
): Shadow {
  const real = new Set<string>(["."]);
  const addParents = (folder: string): void => {
    for (let at = folder; at !== "." && at !== ""; at = dirname(at)) real.add(at);
  };
  for (const file of files.keys()) addParents(dirname(file));
  for (const folder of folders) addParents(folder);
  try {
    for (const folder of [...real].sort((a, b) => a.length - b.length)) mirrorFolder(tree, path, folder, real);
    for (const [file, content] of files) {
      const at = join(path, file);
      rmSync(at, { force: true });
      if (content !== null) writeFileSync(at, content);
    }
  } catch (error) {
    rethrowDiskErrors(error);
  }
  return { path, own: new Set(files.keys()) };
}

/** What a build writes: a link of such a name would let it write into the tree. */
const outputs = /\.(o|cmd|d|a|mod|order|symvers|ko|s|i)$/;

/**
 * The one link of a folder that leads out of it. All others go through it: file systems keep a link of less than 60 bytes in its inode and need a block
 * for a longer one, which takes several times as long to make and to remove.
 */
const way = ".kmend-tree";

function mirrorFolder(tree: string, path: string, folder: string, real: ReadonlySet<string>): void {
  mkdirSync(join(path, folder), { recursive: true });
  symlinkSync(join(tree, folder), join(path, folder, way));
  for (const entry of entriesOf(join(tree, folder))) {
    if (real.has(folder === "." ? entry : `${folder}/${entry}`)) continue;
    if (entry === way || (folder !== "." && outputs.test(entry))) continue;
    symlinkSync(`${way}/${entry}`, join(path, folder, entry));
  }
}

/** Empty for a folder that only the patch has. */
function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
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

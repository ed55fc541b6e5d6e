import { readdir } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import type { ChangedFile } from "../../change/change-set.ts";

/**
 * New files that a rule of a Makefile may take by a pattern (`$(wildcard certs/*.hex)`), since the tree has others of their kind beside them: by the name of such
 * a neighbour, the new file. What a rule makes of the neighbour, it makes of the new file too.
 * @param files of the change. @param tree folder of the unpatched source.
 */
export async function neighboursOfNew(files: readonly ChangedFile[], tree: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const { path, kind } of files) {
    if (kind !== "added" || /\.[chS]$/.test(path) || extname(path) === "") continue;
    const beside = await readdir(join(tree, dirname(path))).catch(() => []);
    const neighbour = beside.sort().find((name) => extname(name) === extname(path));
    if (neighbour !== undefined) found.set(join(dirname(path), neighbour), path);
  }
  return found;
}

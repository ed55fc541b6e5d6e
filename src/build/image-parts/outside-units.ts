import { foldersLeftOut, includeGraph } from "../../kernel/tree/include-graph.ts";
import type { BuildContext } from "../build-context.ts";
import type { IncludedChange } from "../pairs/differing-units.ts";
import type { SortedFiles } from "../pairs/sort-files.ts";
import { refuseImageParts } from "./image-parts.ts";
import { type ReaderVerdict, refuseForImageReaders } from "./image-readers.ts";

/**
 * Refuses what a change does to the image other than through its C units.
 * @param notUnits C and assembly sources that Kbuild does not list.
 * @param included those changed files that something may include, with the whole change.
 */
export async function refuseOutsideOfUnits(
  sorted: SortedFiles,
  notUnits: readonly string[],
  included: IncludedChange,
  context: BuildContext,
): Promise<ReaderVerdict> {
  const others = [...sorted.outside, ...notUnits, ...(await unknownKinds(sorted, context))];
  const parts = await refuseImageParts(others, context);
  const refused = new Set(parts.map(({ what }) => what));
  const paths = included.paths.filter((path) => !refused.has(path));
  const { refusals, same } = await refuseForImageReaders({ ...included, paths }, context);
  return { refusals: [...parts, ...refusals], same };
}

/** What has a suffix that is none of a header's and that no source includes: tables, grammars, pictures. */
async function unknownKinds({ headers }: SortedFiles, { tree, kernelFolder, signal }: BuildContext): Promise<string[]> {
  const unknown = headers.filter(({ path, kind }) => kind !== "added" && !/\.(h|inc|def)$/.test(path));
  if (unknown.length === 0) return [];
  const graph = await includeGraph(tree.path, kernelFolder, foldersLeftOut(tree.environment), signal);
  return unknown.map(({ path }) => path).filter((path) => graph.unitsThatMaySee([path]).length === 0);
}

import { namesOnlyAdded } from "../../change/additions.ts";
import type { ChangedFile } from "../../change/change-set.ts";
import { foldersLeftOut, includeGraph } from "../../kernel/tree/include-graph.ts";
import { walk } from "../../support/find-files.ts";
import type { BuildContext } from "../build-context.ts";
import { sortFiles } from "./sort-files.ts";

/**
 * The changed headers whose including units may change with them: all but those that only add names which no other source file of the tree has, since a
 * unit that compiled without a name does not use it. New inline functions, prototypes and constants are what most fixes change in headers, and
 * thousands of units may include those. A new header counts where a name that the tree includes already may mean it: the compiler takes the first of the
 * folders that has the name, so it may hide another one.
 * @param files all files of the change.
 * @returns paths relative to the tree.
 */
export async function headersToFollow(files: readonly ChangedFile[], context: BuildContext): Promise<string[]> {
  const { tree, signal } = context;
  const sorted = sortFiles(files).headers;
  const headers = sorted.filter(({ kind }) => kind !== "added");
  const adding: { path: string; names: ReadonlySet<string> }[] = [];
  const followed: string[] = [];
  const added = sorted.filter(({ kind }) => kind === "added");
  if (added.length > 0) {
    const graph = await includeGraph(tree.path, context.kernelFolder, foldersLeftOut(tree.environment), signal);
    for (const { path } of added) if (graph.unitsThatMaySee([path]).length > 0) followed.push(path);
  }
  for (const { path, original, patched } of headers) {
    const names = original === null || patched === null ? undefined : namesOnlyAdded(textOf(original), textOf(patched));
    if (names === undefined) followed.push(path);
    else adding.push({ path, names });
  }
  const asked = new Set(adding.flatMap(({ names }) => [...names]));
  const known = asked.size === 0 ? new Set<string>() : await namesInTree(asked, tree, signal);
  for (const { path, names } of adding) if ([...names].some((name) => known.has(name))) followed.push(path);
  return followed.sort();
}

/** Which of the names occur as a word in the sources of a tree. */
async function namesInTree(
  names: ReadonlySet<string>,
  { path, environment }: BuildContext["tree"],
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<string>> {
  const places = [
    "--include=*.[chS]",
    "--include=*.inc",
    ...foldersLeftOut(environment).map((folder) => `--exclude-dir=${folder}`),
  ];
  const result = await walk("grep", ["-rhowF", ...places, "-f", "-", "."], {
    cwd: path,
    input: `${[...names].join("\n")}\n`,
    fine: [0, 1],
    signal,
  });
  return new Set(result.stdout.split("\n"));
}

function textOf(content: Uint8Array): string {
  return Buffer.from(content).toString("latin1");
}

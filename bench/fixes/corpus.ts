import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { foldersLeftOut, includeGraph } from "../../src/kernel/tree/include-graph.ts";
import type { PreparedTree } from "../../src/kernel/tree/prepare.ts";
import { membershipOf } from "../../src/kernel/tree/units.ts";
import { exists, makeOnce, sha256 } from "../../src/support/cache.ts";
import { mapConcurrently, run } from "../../src/support/run.ts";
import { functionGroups } from "./hunks.ts";

/** One fix of the corpus: a patch against the older version. */
export interface Fix {
  /** The path of a file, or path and number of the function group: `net/core/sock.c#3`. */
  readonly id: string;
  readonly path: string;
  /** Patch file. */
  readonly patch: string;
}

/** All that differs between two source trees. */
export interface Corpus {
  /** C files that the older kernel builds, and each function group of those that have several. */
  readonly fixes: readonly Fix[];
  /** C files that it does not build. */
  readonly notBuilt: readonly string[];
  /** Patch file of every source file, header and Makefile that differs or is new, by path. */
  readonly patches: ReadonlyMap<string, string>;
}

interface Listing {
  readonly files: readonly { readonly path: string; readonly groups: number; readonly built: boolean }[];
}

/**
 * Compares two versions of the kernel source file by file and writes one patch for each that differs, and one for each of its function groups.
 * @param archive source archive of the newer version.
 * @param tree the prepared tree of the older one.
 * @param folder where the patches go; an existing corpus there is used again.
 * @param within folders of the tree to compare; none for all of it.
 */
export async function makeCorpus(
  archive: string,
  tree: PreparedTree,
  kernelFolder: string,
  folder: string,
  within: readonly string[] = [],
): Promise<Corpus> {
  await makeOnce(folder, async (temporary) => {
    const newer = join(temporary, "newer");
    await mkdir(newer, { recursive: true });
    await mkdir(join(temporary, "patches"));
    const wanted = ["*.[chS]", "*/Makefile", "*/Kbuild"];
    await run("tar", ["-xf", archive, "-C", newer, "--strip-components=1", "--wildcards", ...wanted], {
      env: { XZ_DEFAULTS: "-T0" },
    });
    const listed = await run("find", [".", "-type", "f", "-printf", "%P\\n"], { cwd: newer });
    const isWanted = (path: string): boolean =>
      within.length === 0 || within.some((place) => path.startsWith(`${place}/`));
    const paths = listed.stdout
      .split("\n")
      .filter((path) => path !== "" && isWanted(path))
      .sort();
    const differs = await mapConcurrently(paths, 8, (path) => isDifferent(join(tree.path, path), join(newer, path)));
    const changed = paths.filter((_, index) => differs[index]);
    const groups = await mapConcurrently(changed, 4, (path) => writePatches(tree.path, newer, path, temporary));
    const isBuilt = await builtSources(changed, tree, kernelFolder, temporary);
    const files = changed.map((path, index) => ({ path, groups: groups[index] as number, built: isBuilt(path) }));
    await rm(newer, { recursive: true });
    await writeFile(join(temporary, "corpus.json"), JSON.stringify({ files } satisfies Listing));
  });
  const { files } = JSON.parse(await readFile(join(folder, "corpus.json"), "utf8")) as Listing;
  const fixes = files
    .filter(({ built }) => built)
    .flatMap(({ path, groups }): Fix[] => [
      { id: path, path, patch: patchPath(folder, path) },
      ...Array.from({ length: groups > 1 ? groups : 0 }, (_, index) => {
        const id = `${path}#${index + 1}`;
        return { id, path, patch: patchPath(folder, id) };
      }),
    ]);
  return {
    fixes,
    notBuilt: files.filter(({ built, groups }) => groups > 0 && !built).map(({ path }) => path),
    patches: new Map(files.map(({ path }) => [path, patchPath(folder, path)])),
  };
}

/** True for the patch of all that differs in a file. */
export function isWholeFile({ id, path }: Pick<Fix, "id" | "path">): boolean {
  return id === path;
}

/** A reproducible order, by a hash of seed and name, so that any beginning of it is a fair sample. */
export function shuffled(fixes: readonly Fix[], seed: string): Fix[] {
  const keys = new Map(fixes.map(({ id }) => [id, sha256(seed, id)]));
  return [...fixes].sort((a, b) => ((keys.get(a.id) as string) < (keys.get(b.id) as string) ? -1 : 1));
}

function patchPath(folder: string, id: string): string {
  return join(folder, "patches", `${id.replaceAll("/", "__")}.patch`);
}

async function isDifferent(older: string, newer: string): Promise<boolean> {
  const [before, after] = await Promise.all([readFile(older).catch(() => undefined), readFile(newer)]);
  return before === undefined || !before.equals(after);
}

/** @returns the number of function groups; 0 for new files and for what is no C file. */
async function writePatches(older: string, newer: string, path: string, folder: string): Promise<number> {
  const before = join(older, path);
  const isNew = !(await exists(before));
  const file = patchPath(folder, path);
  // Sources are not always UTF-8, so no program's output is read here.
  const script = 'diff -u -p --label "$1" --label "$2" "$3" "$4" >"$5"; [ $? -le 1 ]';
  const words = isNew ? ["/dev/null", `b/${path}`, "/dev/null"] : [`a/${path}`, `b/${path}`, before];
  await run("sh", ["-c", script, "sh", ...words, join(newer, path), file]);
  if (isNew || !path.endsWith(".c")) return 0;
  const groups = functionGroups(await readFile(file, "latin1"));
  if (groups.length > 1)
    await Promise.all(
      groups.map((text, index) => writeFile(patchPath(folder, `${path}#${index + 1}`), text, "latin1")),
    );
  return groups.length;
}

/** Tells of C files whether the kernel builds them, or may build another one that includes them. */
export async function builtSources(
  changed: readonly string[],
  tree: PreparedTree,
  kernelFolder: string,
  scratch: string,
): Promise<(path: string) => boolean> {
  const architecture = tree.environment.variables["SRCARCH"];
  const elsewhere = /^(tools|samples|scripts|Documentation|usr)\//;
  const asked = changed.filter((path) => {
    const other = /^arch\/([^/]+)\//.exec(path)?.[1];
    return path.endsWith(".c") && !elsewhere.test(path) && (other === undefined || other === architecture);
  });
  const membership = await membershipOf({ environment: tree.environment, at: tree.path, scratch }, asked);
  const graph = await includeGraph(tree.path, kernelFolder, foldersLeftOut(tree.environment));
  const notListed = asked.filter((path) => membership.get(path)?.kind === "not-built");
  const included = new Set(notListed.filter((path) => graph.unitsThatMaySee([path]).length > 0));
  return (path) => included.has(path) || (membership.get(path)?.kind ?? "not-built") !== "not-built";
}

import { readFile } from "node:fs/promises";
import { basename, dirname, join, normalize } from "node:path";
import { makeOnce, writeFileAtomically } from "../../support/cache.ts";
import { walk } from "../../support/find-files.ts";
import type { KbuildEnvironment } from "./kbuild.ts";

/** Which file of a source tree names which in an #include, read from the sources without regard to configuration. */
export interface IncludeGraph {
  /**
   * All C files that may see one of `files`, directly or through others. More than really do: a name in an #include may mean any file whose path ends so.
   */
  unitsThatMaySee(files: readonly string[]): string[];
}

/** Source folders that hold nothing of a kernel image. */
const leftOut: readonly string[] = ["Documentation", "tools", "samples", "scripts", "LICENSES", "usr"];

/** Names of folders that are not looked into: those of the kernel say nothing about the source of an external module. */
export function foldersLeftOut({ external }: KbuildEnvironment): readonly string[] {
  return external === undefined ? leftOut : [];
}

/**
 * Reads all #include lines of a tree, about 60,000 files, once; the result is kept in `cache`.
 * @param tree the prepared tree; symbolic links in it are not followed.
 * @param skipped names of folders that are not looked into, see {@link foldersLeftOut}.
 */
export async function includeGraph(
  tree: string,
  cache: string,
  skipped: readonly string[],
  signal?: AbortSignal,
): Promise<IncludeGraph> {
  const path = join(cache, "includes-2.txt");
  await makeOnce(path, async (temporary) => {
    const excluded = skipped.map((folder) => `--exclude-dir=${folder}`);
    const pattern = '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"][^>"]+[>"]';
    const [included, found] = await Promise.all([
      walk("grep", ["-rEo", "--include=*.[chS]", "--include=*.inc", ...excluded, pattern, "."], {
        ...{ cwd: tree, signal, fine: [0, 1] },
      }),
      walk("find", [".", "-name", "*.[ch]", "-printf", "%P\\n"], { cwd: tree, signal }),
    ]);
    await writeFileAtomically(temporary, compact(included.stdout, new Set(found.stdout.split("\n"))));
  });
  return parseGraph(await readFile(path, "utf8"));
}

/**
 * `./a/b.c:#include "c.h"` → one line per including file: path, then the names it includes, separated by tabs. A quoted name that is a file beside the
 * including one means that file; it is written as `=path`.
 */
function compact(lines: string, files: ReadonlySet<string>): string {
  const byFile = new Map<string, string[]>();
  for (const line of lines.split("\n")) {
    const match = /^\.\/([^:]+):.*([<"])([^>"]+)[>"]$/.exec(line);
    if (match === null) continue;
    const [, file, quote, name] = match as unknown as [string, string, string, string];
    const beside = normalize(join(dirname(file), name));
    const entry = quote === '"' && files.has(beside) ? `=${beside}` : name;
    const list = byFile.get(file);
    if (list === undefined) byFile.set(file, [entry]);
    else list.push(entry);
  }
  return [...byFile].map(([file, names]) => [file, ...names].join("\t")).join("\n");
}

/** Builds the graph from its stored text; exported for tests. */
export function parseGraph(text: string): IncludeGraph {
  /** By base name of what is included: who includes it, under which name. */
  const includers = new Map<string, { file: string; name: string; exact: boolean }[]>();
  for (const line of text.split("\n")) {
    const [file, ...names] = line.split("\t");
    if (file === undefined || file === "") continue;
    for (const written of names) {
      const exact = written.startsWith("=");
      const name = exact ? written.slice(1) : written.replace(/^(\.{1,2}\/)+/, "");
      const list = includers.get(basename(name));
      if (list === undefined) includers.set(basename(name), [{ file, name, exact }]);
      else list.push({ file, name, exact });
    }
  }
  return {
    unitsThatMaySee(files) {
      const seen = new Set<string>(files);
      const queue = [...files];
      for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
        for (const { file: user, name, exact } of includers.get(basename(file)) ?? []) {
          if (seen.has(user) || !(file === name || (!exact && file.endsWith(`/${name}`)))) continue;
          seen.add(user);
          queue.push(user);
        }
      }
      return [...seen].filter((file) => file.endsWith(".c") && !files.includes(file)).sort();
    },
  };
}

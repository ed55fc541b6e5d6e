import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeOnce, writeFileAtomically } from "../../support/cache.ts";
import { walk } from "../../support/find-files.ts";

/** A source or header that a Makefile speaks of, as it is written there: `$(srctree)/lib/%.c`; or all files of a kind: `certs/*.hex`. */
export interface NamedFile {
  readonly makefile: string;
  readonly name: string;
}

/**
 * All sources and headers that the Makefiles of a tree speak of, read in a second, once; the result is kept in `cache`.
 * @param skipped names of folders that are not looked into.
 */
export async function namesInMakefiles(
  tree: string,
  cache: string,
  skipped: readonly string[],
  signal?: AbortSignal,
): Promise<NamedFile[]> {
  const path = join(cache, "makefile-names-2.txt");
  await makeOnce(path, async (temporary) => {
    const excluded = skipped.map((folder) => `--exclude-dir=${folder}`);
    const pattern = "[^[:space:]:=]*([^[:space:]:=/]\\.(c|h|inc|def)\\b|/[*][.][[:alnum:]_]+)";
    const words = ["-roE", "--include=Makefile*", "--include=Kbuild*", ...excluded, pattern, "."];
    const { stdout } = await walk("grep", words, { cwd: tree, signal, fine: [0, 1] });
    const lines = stdout.split("\n").flatMap((line) => {
      const [, makefile, name] = /^\.\/([^:]+):(.+)$/.exec(line) ?? [];
      return makefile === undefined || name === undefined ? [] : [`${makefile}\t${name}`];
    });
    await writeFileAtomically(temporary, [...new Set(lines)].join("\n"));
  });
  return (await readFile(path, "utf8")).split("\n").flatMap((line) => {
    const [makefile, name] = line.split("\t");
    return makefile === undefined || name === undefined ? [] : [{ makefile, name }];
  });
}

/**
 * True when what stands in a Makefile may mean a file: variables and patterns in it may stand for anything, and only make knows. Of a pattern without a
 * folder, as in `$(src)/%.c`, it is taken that it means files beside the Makefile.
 */
export function mayMean({ makefile, name }: NamedFile, path: string): boolean {
  const plain = name.replace(/^[^\w$%*.]+/, "").replace(/^(?:\$\([^)]*\)|\.{1,2}(?=\/)|\/)+/, "");
  if (/^[%*][^/]*$/.test(plain) && dirname(path) !== dirname(makefile)) return false;
  const parts = plain.split(/(\$\([^)]*\)|[%*])/);
  const pattern = parts.map((part, index) => (index % 2 === 1 ? ".*" : part.replaceAll(/[.+?^${}()|[\]\\]/g, "\\$&")));
  return new RegExp(`(^|/)${pattern.join("")}$`).test(path);
}

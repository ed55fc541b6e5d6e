import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { environmentVariable } from "../../support/environment.ts";
import { findProgram } from "../../support/find-program.ts";

/** How a recorded compile command is run through ccache(1). */
export interface CompilerCache {
  readonly program: string;
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * ccache, where it is installed. Its direct mode compares the files that an earlier compile read, and would not notice a file that now comes before one of
 * them on the include path. Which files there are is therefore part of its key: those of the tree, which never changes once it is made, and those that the
 * patch adds.
 * @param tree the prepared tree; the file beside it that says when it was made is `tree.json`.
 * @param added paths that the patch adds to the tree.
 * @param folder private folder of the build, for the file that holds this part of the key.
 * @returns undefined without ccache, or when the user switched it off (CCACHE_DISABLE).
 */
export async function findCompilerCache(
  tree: string,
  added: readonly string[],
  folder: string,
): Promise<CompilerCache | undefined> {
  if (environmentVariable("CCACHE_DISABLE") !== undefined) return undefined;
  const program = await findProgram("ccache");
  if (program === undefined) return undefined;
  const made = await stat(`${tree}.json`).catch(() => undefined);
  if (made === undefined) return undefined;
  const key = join(folder, "ccache-key");
  await writeFile(key, [tree, made.ino, made.mtimeMs, ...[...added].sort()].join("\n"));
  return {
    program,
    environment: {
      CCACHE_EXTRAFILES: key,
      // The dependencies that Kbuild has the compiler write tell what was read, so that a miss costs no preprocessing.
      CCACHE_DEPEND: "1",
      // Each build has a shadow of the tree of its own; its path is nothing but the folder of compilation in the debug information.
      CCACHE_NOHASHDIR: "1",
      // A user's settings for other work must not weaken the comparison.
      CCACHE_SLOPPINESS: "",
      CCACHE_IGNOREHEADERS: "",
      CCACHE_IGNOREOPTIONS: "",
      CCACHE_COMPILERCHECK: "mtime",
      // objtool writes into the object.
      CCACHE_NOHARDLINK: "1",
    },
  };
}

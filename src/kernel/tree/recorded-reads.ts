import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize, relative } from "node:path";
import { makeOnce, writeFileAtomically } from "../../support/cache.ts";
import { systemErrorCode } from "../../support/errors.ts";
import { entriesBelowIfAny } from "../../support/find-files.ts";
import { mapConcurrently } from "../../support/run.ts";

/** What Kbuild recorded of something that it made when the tree was prepared, and that no object of the kernel is (scripts/basic/fixdep.c). */
export interface RecordedStep {
  /** What was made, relative to the tree. */
  readonly target: string;
  readonly command: string;
  /** Files of the tree that were read. */
  readonly reads: readonly string[];
}

/** Folders in which the preparation of a tree makes programs. */
const places: readonly string[] = ["scripts", "tools", "kernel", "arch", "usr", "certs"];

/** All recorded steps of a prepared tree, which never change; they are kept in `cache`. */
export async function recordedSteps(tree: string, cache: string): Promise<RecordedStep[]> {
  const path = join(cache, "recorded-steps-1.txt");
  await makeOnce(path, async (temporary) => {
    const found = (await Promise.all(places.map((place) => commandFiles(tree, place)))).flat().sort();
    const steps = await mapConcurrently(found, 8, async (file) => readStep(tree, await textOf(file)));
    const lines = steps.flatMap((step) =>
      step === undefined ? [] : [[step.target, step.command, ...step.reads].join("\t")],
    );
    await writeFileAtomically(temporary, lines.join("\n"));
  });
  return (await readFile(path, "utf8")).split("\n").flatMap((line) => {
    const [target, command, ...reads] = line.split("\t");
    return target === undefined || command === undefined ? [] : [{ target, command, reads }];
  });
}

/** Empty for a file that is gone by now. */
async function textOf(file: string): Promise<string> {
  return readFile(file, "utf8").catch((error: unknown) => {
    if (systemErrorCode(error) === "ENOENT") return "";
    throw error;
  });
}

async function commandFiles(tree: string, place: string): Promise<string[]> {
  const entries = await entriesBelowIfAny(join(tree, place));
  return entries
    .filter((entry) => entry.isFile() && /^\..*\.cmd$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Reads the text of a `.name.cmd` file; exported for tests. */
export function readStep(tree: string, text: string): RecordedStep | undefined {
  const [, target, command] = /^(?:saved)?cmd_(\S+) := (.*)$/m.exec(text) ?? [];
  if (target === undefined || command === undefined) return undefined;
  const folder = isAbsolute(target) ? dirname(target) : tree;
  const inTree = (path: string): string => normalize(relative(tree, join(isAbsolute(path) ? "/" : folder, path)));
  const source = /^source_\S+ := (\S+)$/m.exec(text)?.[1];
  const listed = /^deps_\S+ := \\\n((?:.*\\\n)*)/m.exec(text)?.[1] ?? "";
  const words = listed.split(/[\s\\]+/).filter((word) => word !== "" && !/[$()]/.test(word));
  const reads = [...(source === undefined ? [] : [source]), ...words].map(inTree);
  return {
    target: inTree(isAbsolute(target) ? target : join(tree, target)),
    command: command.replaceAll("$$", "$").replaceAll("$(pound)", "#").trim(),
    reads: [...new Set(reads)].filter((path) => !path.startsWith("..")),
  };
}

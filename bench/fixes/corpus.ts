import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exists, makeOnce, sha256 } from "../../src/support/cache.ts";
import { mapConcurrently, run } from "../../src/support/run.ts";

/** One fix of the corpus: a patch against the older version. */
export interface Fix {
  /** Stable name: path and number of the function group; also the name of its patch file. */
  readonly id: string;
  readonly path: string;
  readonly patch: string;
}

/**
 * Compares the C files of two source trees of one kernel series and makes one patch of each group of neighbouring functions that differ.
 * @param folder where the patch files go; an existing corpus there is used again.
 */
export async function makeCorpus(older: string, newer: string, folder: string): Promise<Fix[]> {
  await makeOnce(folder, async (temporary) => {
    await mkdir(temporary, { recursive: true });
    const listed = await run("diff", ["-rq", "--no-dereference", "-x", "*.o", "-x", "*.cmd", older, newer], { allowFailure: true });
    const paths = listed.stdout
      .split("\n")
      .flatMap((line) => /^Files (.+) and .+ differ$/.exec(line)?.[1]?.slice(older.length + 1) ?? [])
      .filter((path) => path.endsWith(".c"))
      .sort();
    const fixes = (await mapConcurrently(paths, 4, (path) => fixesOf(older, newer, path))).flat();
    await mkdir(join(temporary, "patches"));
    for (const fix of fixes) await writeFile(join(temporary, "patches", `${fix.id}.patch`), fix.patch);
    await writeFile(join(temporary, "fixes.json"), JSON.stringify(fixes.map(({ id, path }) => ({ id, path }))));
  });
  const listed = JSON.parse(await readFile(join(folder, "fixes.json"), "utf8")) as { id: string; path: string }[];
  return listed.map(({ id, path }) => ({ id, path, patch: join(folder, "patches", `${id}.patch`) }));
}

/** Hunks of one file, grouped by the function that their headers name: one group is one fix. */
async function fixesOf(older: string, newer: string, path: string): Promise<Fix[]> {
  const args = ["-u", "-p", "--label", `a/${path}`, "--label", `b/${path}`, join(older, path), join(newer, path)];
  const { stdout } = await run("diff", args, { allowFailure: true });
  const lines = stdout.split("\n");
  const hunks: { name: string; lines: string[] }[] = [];
  for (const line of lines.slice(2)) {
    const header = /^@@ .* @@ ?(.*)$/.exec(line);
    if (header !== null) hunks.push({ name: header[1] as string, lines: [line] });
    else if (line !== "" || hunks.length > 0) hunks.at(-1)?.lines.push(line);
  }
  const groups: { name: string; lines: string[] }[] = [];
  for (const hunk of hunks) {
    const last = groups.at(-1);
    if (last !== undefined && last.name === hunk.name) last.lines.push(...hunk.lines);
    else groups.push(hunk);
  }
  const base = path.replace(/\.c$/, "").replaceAll("/", "-");
  const all = groups.length > 1 ? [...groups.map((group) => group.lines), groups.flatMap((group) => group.lines)] : groups.map((group) => group.lines);
  return all.map((body, index) => ({
    id: `${base}-${index + 1 === all.length && all.length > 1 ? "all" : index + 1}`,
    path,
    patch: `--- a/${path}\n+++ b/${path}\n${body.filter((line, at) => line !== "" || at < body.length - 1).join("\n")}\n`,
  }));
}

/** A reproducible order: by a hash of seed and name, so that any prefix is a fair sample. */
export function shuffled(fixes: readonly Fix[], seed: string): Fix[] {
  return [...fixes].sort((a, b) => (sha256(seed, a.id) < sha256(seed, b.id) ? -1 : 1));
}

/** Unpacks a source archive once. */
export async function unpackOnce(archive: string, folder: string): Promise<string> {
  if (await exists(folder)) return folder;
  return makeOnce(folder, async (temporary) => {
    await mkdir(temporary, { recursive: true });
    await run("tar", ["-xf", archive, "-C", temporary, "--strip-components=1"]);
  });
}

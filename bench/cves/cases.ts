import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { baseScore } from "../../src/cve/cvss.ts";
import { compareKernelVersions, type KernelVersion, parseKernelVersion } from "../../src/cve/kernel-version.ts";
import type { Corpus, Fix } from "../fixes/corpus.ts";

/** A vulnerability as a table tells it. */
export interface ListedCve {
  readonly id: string;
  readonly fixedIn: KernelVersion;
  readonly files: readonly string[];
  readonly score: number | undefined;
  readonly title: string;
}

/** One vulnerability whose fix can be told from the others between two versions. */
export interface CveCase {
  readonly cve: ListedCve;
  readonly fix: Fix;
}

/** Why a vulnerability of an interval is no case. */
export type NoCase = "shares a file" | "no source file" | "not in this configuration" | "does not differ";

/**
 * Reads a table with a line of heads and the columns `cve`, `fixed_in`, `cvss_vector`, `files` (separated by blanks or commas) and `title`, separated by tabs.
 * @throws Error when a column is missing.
 */
export async function readTable(path: string): Promise<ListedCve[]> {
  const [head = "", ...lines] = (await readFile(path, "utf8")).split("\n").filter((line) => line !== "");
  const columns = head.split("\t");
  const at = (name: string): number => {
    const column = columns.indexOf(name);
    if (column < 0) throw new Error(`${path} has no column ${name}`);
    return column;
  };
  const places = {
    id: at("cve"),
    fixedIn: at("fixed_in"),
    vector: at("cvss_vector"),
    files: at("files"),
    title: at("title"),
  };
  return lines.flatMap((line): ListedCve[] => {
    const cells = line.split("\t");
    const fixedIn = parseKernelVersion(cells[places.fixedIn] ?? "");
    if (fixedIn === undefined) return [];
    return [
      {
        ...{ id: cells[places.id] ?? "", fixedIn, title: cells[places.title] ?? "" },
        files: (cells[places.files] ?? "").split(/[\s,]+/).filter((name) => name !== ""),
        score: baseScore(cells[places.vector] ?? ""),
      },
    ];
  });
}

/** Those that were fixed after one version and not after another. */
export function between(cves: readonly ListedCve[], older: KernelVersion, newer: KernelVersion): ListedCve[] {
  return cves.filter(
    ({ fixedIn }) => compareKernelVersions(fixedIn, older) > 0 && compareKernelVersions(fixedIn, newer) <= 0,
  );
}

/**
 * Makes a patch of each vulnerability that is the only one of its source files between two versions: all that differs in these files and in its headers. Other
 * changes of the same files ride along, which is why such a patch is not the commit.
 * @param folder gets patches of several files.
 */
export async function makeCases(
  cves: readonly ListedCve[],
  corpus: Corpus,
  folder: string,
): Promise<{ readonly cases: readonly CveCase[]; readonly others: ReadonlyMap<NoCase, number> }> {
  const users = new Map<string, number>();
  for (const { files } of cves) for (const file of files) users.set(file, (users.get(file) ?? 0) + 1);
  const built = new Set(corpus.fixes.map(({ path }) => path));
  const others = new Map<NoCase, number>();
  const count = (reason: NoCase): void => void others.set(reason, (others.get(reason) ?? 0) + 1);
  const cases: CveCase[] = [];
  for (const cve of cves) {
    const sources = cve.files.filter((file) => file.endsWith(".c"));
    const differing = sources.filter((file) => corpus.patches.has(file));
    const [first] = differing.filter((file) => built.has(file));
    if (sources.length === 0) count("no source file");
    else if (differing.length === 0) count("does not differ");
    else if (sources.some((file) => (users.get(file) ?? 0) > 1)) count("shares a file");
    else if (first === undefined) count("not in this configuration");
    else {
      const headers = cve.files.filter(
        (file) => file.endsWith(".h") && users.get(file) === 1 && corpus.patches.has(file),
      );
      const parts = [...differing.filter((file) => built.has(file)), ...headers];
      const patch = join(folder, `${cve.id}.patch`);
      const texts = await Promise.all(parts.map((file) => readFile(corpus.patches.get(file) as string)));
      await writeFile(patch, Buffer.concat(texts));
      cases.push({ cve, fix: { id: cve.id, path: first, patch } });
    }
  }
  return { cases, others };
}

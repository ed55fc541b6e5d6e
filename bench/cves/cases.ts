import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { baseScore } from "../../src/cve/cvss.ts";
import { compareKernelVersions, type KernelVersion, parseKernelVersion } from "../../src/cve/kernel-version.ts";
import type { Corpus, Fix } from "../fixes/corpus.ts";
import { hunksOf, patchOf } from "../fixes/hunks.ts";

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
  /** Hunks of files that it shares with other vulnerabilities, told by what its title names. */
  readonly isPart: boolean;
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
 * changes of the same files ride along, which is why such a patch is not the commit. Of a file with several vulnerabilities those hunks are taken whose function
 * the title names, where no other title does.
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
    else if (first === undefined) count("not in this configuration");
    else if (sources.some((file) => (users.get(file) ?? 0) > 1)) {
      const text = await hunksOfTitle(
        cve,
        differing.filter((file) => built.has(file)),
        cves,
        corpus,
      );
      if (text === undefined) count("shares a file");
      else {
        const patch = join(folder, `${cve.id}.patch`);
        await writeFile(patch, text, "latin1");
        cases.push({ cve, fix: { id: cve.id, path: first, patch }, isPart: true });
      }
    } else {
      const headers = cve.files.filter(
        (file) => file.endsWith(".h") && users.get(file) === 1 && corpus.patches.has(file),
      );
      const parts = [...differing.filter((file) => built.has(file)), ...headers];
      const patch = join(folder, `${cve.id}.patch`);
      const texts = await Promise.all(parts.map((file) => readFile(corpus.patches.get(file) as string)));
      await writeFile(patch, Buffer.concat(texts));
      cases.push({ cve, fix: { id: cve.id, path: first, patch }, isPart: false });
    }
  }
  return { cases, others };
}

/** Words of a title that are names in C: `tipc_crypto_key_rcv`, `foo()`. */
function namesIn(title: string): string[] {
  return [...title.matchAll(/\b([a-z][a-z0-9]*(?:_[a-z0-9]+)+)\b|\b([a-z]\w+)\(\)/g)].map(
    ([, long, called]) => (long ?? called) as string,
  );
}

/** Patches of the hunks that the title of a vulnerability tells from those of all others; undefined when it does not in one of the files. */
async function hunksOfTitle(
  cve: ListedCve,
  files: readonly string[],
  all: readonly ListedCve[],
  corpus: Corpus,
): Promise<string | undefined> {
  const names = new Set(namesIn(cve.title));
  const texts: string[] = [];
  for (const file of files) {
    const others = all.filter((other) => other.id !== cve.id && other.files.includes(file));
    const taken = new Set(others.flatMap(({ title }) => namesIn(title)));
    const { head, hunks } = hunksOf(await readFile(corpus.patches.get(file) as string, "latin1"));
    const own = hunks.filter(({ within }) => {
      const around = within.match(/[A-Za-z_]\w*/g) ?? [];
      return around.some((word) => names.has(word)) && !around.some((word) => taken.has(word));
    });
    if (own.length === 0) return undefined;
    texts.push(patchOf(head, own));
  }
  return texts.length === 0 ? undefined : texts.join("");
}

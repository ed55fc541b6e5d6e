import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { cacheRoot, sha256 } from "../support/cache.ts";
import { download } from "../support/download.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { quietGitEnvironment } from "../support/quiet-git.ts";
import { type RunResult, run } from "../support/run.ts";
import { type FixPatch, readFixPatch } from "./fix-patch.ts";

/** Where the patches of commits come from. */
export interface FixSource {
  /** @throws KmendError `FIX_MISSING`, and those of reading it. */
  patchOf(commit: string): Promise<FixPatch>;
  /**
   * Commits in the order of their history, oldest first; those that it does not know keep their place behind.
   * @param version of the kernel, after which all of them came.
   */
  inOrder(commits: readonly string[], version: string): Promise<readonly string[]>;
  /**
   * Commits between a version of the kernel and a fix that touched the lines which the fix changes, oldest first.
   * @returns undefined when this source cannot know.
   */
  prerequisitesOf(fix: FixPatch, version: string): Promise<readonly Prerequisite[] | undefined>;
}

/** A commit that a fix rests on. */
export interface Prerequisite {
  readonly commit: string;
  readonly title: string;
}

/** Address of a commit's patch; `{commit}` stands for its full name (cgit of git.kernel.org). */
export const defaultPatchUrl = "https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git/patch/?id={commit}";

/** Patches by their address, kept in the cache: a commit's name says what is in it. */
export class FixesByUrl implements FixSource {
  readonly #template: string;
  readonly #signal: AbortSignal | undefined;

  /** @throws KmendError `USAGE` when the template has no `{commit}`. */
  constructor(template: string, signal?: AbortSignal) {
    if (!template.includes("{commit}")) {
      throw new KmendError({
        code: "USAGE",
        message: "--patch-url has no {commit}, in whose place the name of the commit is put",
        hint: `for example --patch-url '${defaultPatchUrl}'`,
        exitCode: ExitCode.usage,
      });
    }
    this.#template = template;
    this.#signal = signal;
  }

  async patchOf(commit: string): Promise<FixPatch> {
    const url = this.#template.replaceAll("{commit}", commit);
    const path = join(cacheRoot(), "cves", "patches", `${commit}-${sha256(url).slice(0, 8)}.patch`);
    const known = await readFile(path).catch(() => undefined);
    if (known === undefined) await download(url, path, { signal: this.#signal, limit: 64 * 1024 * 1024 });
    try {
      return readFixPatch(known ?? (await readFile(path)), commit, url);
    } catch (error) {
      // What was no patch may be one the next time.
      await Promise.all([path, `${path}.etag`].map((name) => rm(name, { force: true })));
      throw error;
    }
  }

  async inOrder(commits: readonly string[]): Promise<readonly string[]> {
    return commits;
  }

  async prerequisitesOf(): Promise<undefined> {
    return undefined;
  }
}

/** Patches from a clone with the stable branches and tags, which is never written to. */
export class FixesByGit implements FixSource {
  readonly #path: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(path: string, signal: AbortSignal | undefined) {
    this.#path = path;
    this.#signal = signal;
  }

  /** Opens a clone, bare or with files. @throws KmendError `NOT_A_GIT_CLONE` (exit 2) */
  static async open(path: string, signal?: AbortSignal): Promise<FixesByGit> {
    const clone = new FixesByGit(path, signal);
    const found = await clone.#git(["rev-parse", "--git-dir"]);
    if (found.exitCode === 0) return clone;
    throw new KmendError({
      code: "NOT_A_GIT_CLONE",
      message: `${path} is not a git repository`,
      why: found.stderr.trim().split("\n")[0],
      hint: "give a clone of the stable tree: git clone --mirror https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git",
      exitCode: ExitCode.usage,
    });
  }

  async patchOf(commit: string): Promise<FixPatch> {
    if (!(await this.#has(commit))) throw await this.#missing(commit);
    const plain = [
      "--no-color",
      "--no-ext-diff",
      "--no-textconv",
      "--src-prefix=a/",
      "--dst-prefix=b/",
      "--full-index",
    ];
    const words = ["format-patch", "-1", "--stdout", "--no-signature", "--no-stat", "--no-renames", "-k", ...plain];
    // Text of sources is not always UTF-8, and what a program prints is read as text.
    const script = 'path=$1; shift; git -C "$path" "$@" | base64 -w0';
    const { stdout } = await run("sh", ["-c", script, "sh", this.#path, ...words, commit], {
      env: await quietGitEnvironment(this.#path, this.#signal),
      cleanEnv: true,
      signal: this.#signal,
    });
    return readFixPatch(Buffer.from(stdout, "base64"), commit, `${this.#path}: ${commit}`);
  }

  async inOrder(commits: readonly string[], version: string): Promise<readonly string[]> {
    if (commits.length < 2) return commits;
    // Commits of one stable release often have one date: the graph decides.
    const base = (await this.#has(`v${version}`)) ? [`^v${version}`] : [];
    const known = await Promise.all(commits.map((commit) => this.#has(commit)));
    const words = ["rev-list", "--topo-order", "--reverse", ...commits.filter((_, at) => known[at]), ...base, "--"];
    const listed = await this.#git(words);
    const places = new Map(listed.stdout.split("\n").map((commit, place) => [commit, place]));
    const placeOf = (commit: string): number => places.get(commit) ?? Number.POSITIVE_INFINITY;
    return [...commits].sort((a, b) => Math.sign(placeOf(a) - placeOf(b)) || 0);
  }

  async prerequisitesOf(fix: FixPatch, version: string): Promise<readonly Prerequisite[] | undefined> {
    const tag = `v${version}`;
    if (!(await this.#has(tag))) return undefined;
    const commits = new Set<string>();
    for (const { path, ranges } of oldRanges(fix)) {
      const lines = ranges.flatMap(({ first, last }) => ["-L", `${first},${last}`]);
      const words = ["blame", "--porcelain", "-s", ...lines, `${tag}..${fix.commit}^`, "--", path];
      const { exitCode, stdout } = await this.#git(words);
      if (exitCode === 0) for (const commit of changedSince(stdout)) commits.add(commit);
    }
    const ordered = await this.inOrder([...commits], version);
    return Promise.all(
      ordered.map(async (commit) => ({
        commit,
        title: (await this.#git(["show", "-s", "--format=%s", commit])).stdout.trim(),
      })),
    );
  }

  async #has(name: string): Promise<boolean> {
    const words = ["rev-parse", "--verify", "--quiet", "--end-of-options", `${name}^{commit}`];
    return (await this.#git(words)).exitCode === 0;
  }

  async #missing(commit: string): Promise<KmendError> {
    const isShallow = (await this.#git(["rev-parse", "--is-shallow-repository"])).stdout.trim() === "true";
    const isKernel = await this.#has("v6.1");
    return new KmendError({
      code: "FIX_MISSING",
      message: `this clone has no commit ${commit}`,
      where: this.#path,
      why: isShallow
        ? "it is a shallow clone, which has the newest commits only"
        : isKernel
          ? "it may be older than the fix, or a clone of another tree than stable"
          : "it has no tag v6.1: it may be of another project",
      hint: isShallow
        ? `git -C ${this.#path} fetch --unshallow --tags`
        : `git -C ${this.#path} fetch --tags https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git`,
    });
  }

  async #git(words: readonly string[]): Promise<RunResult> {
    const env = await quietGitEnvironment(this.#path, this.#signal);
    const settings = { env, cleanEnv: true, allowFailure: true, signal: this.#signal };
    return run("git", ["-C", this.#path, ...words], settings);
  }
}

/** Lines of the old files that a patch replaces or stands beside, from 1. */
function oldRanges({ content }: FixPatch): { path: string; ranges: { first: number; last: number }[] }[] {
  const files: { path: string; ranges: { first: number; last: number }[] }[] = [];
  for (const line of content.toString("latin1").split("\n")) {
    const path = /^--- a\/(.*?)\t?$/.exec(line)?.[1];
    if (path !== undefined) files.push({ path, ranges: [] });
    const hunk = /^@@ -(\d+)(?:,(\d+))? \+/.exec(line);
    const length = Number(hunk?.[2] ?? 1);
    if (hunk === null || length === 0) continue;
    files.at(-1)?.ranges.push({ first: Number(hunk[1]), last: Number(hunk[1]) + length - 1 });
  }
  return files.filter(({ ranges }) => ranges.length > 0);
}

/** Commits in the output of blame --porcelain that are not the boundary of its range. */
function changedSince(porcelain: string): string[] {
  const commits = new Set<string>();
  const boundary = new Set<string>();
  let current = "";
  for (const line of porcelain.split("\n")) {
    const head = /^([0-9a-f]{40}) \d+ \d+/.exec(line)?.[1];
    if (head !== undefined) {
      current = head;
      commits.add(head);
    } else if (line === "boundary") boundary.add(current);
  }
  return [...commits].filter((commit) => !boundary.has(commit));
}

import { sha256 } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { quietGitEnvironment } from "../support/quiet-git.ts";
import { type RunResult, run } from "../support/run.ts";
import { type ChangedFile, changedFile, type SourceOverlay } from "./change-set.ts";
import type { TextualChange } from "./extension.ts";

/** The ref that remembers the source which the running kernel was built from. */
export const originalRef = "refs/ksplice/pre";

/**
 * A git repository that is only looked at. The one thing that is ever written is {@link originalRef}; HEAD, index and files stay as they are, also
 * the index's cache of file times. No program is run that the repository names: hooks, filters, monitors.
 */
export class GitTree {
  readonly path: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(path: string, signal: AbortSignal | undefined) {
    this.path = path;
    this.#signal = signal;
  }

  /** @throws KmendError `NOT_A_GIT_TREE` when the folder is not the top of a git working tree with a commit. */
  static async open(path: string, signal?: AbortSignal): Promise<GitTree> {
    const tree = new GitTree(path, signal);
    const top = await tree.#git(["rev-parse", "--show-cdup"]);
    const head = await tree.commit("HEAD");
    if (top.exitCode === 0 && top.stdout.trim() === "" && head !== undefined) return tree;
    throw new KmendError({
      code: "NOT_A_GIT_TREE",
      message: `${path} is not the top of a git working tree with a commit`,
      why: top.exitCode === 0 ? undefined : top.stderr.trim(),
      hint: "give the change with --patch or --diffext",
      exitCode: ExitCode.usage,
    });
  }

  /** Object name of a commit; undefined when the words name none. */
  async commit(name: string): Promise<string | undefined> {
    const found = await this.#git(["rev-parse", "--verify", "--quiet", "--end-of-options", `${name}^{commit}`]);
    return found.exitCode === 0 ? found.stdout.trim() : undefined;
  }

  /** Object name of a commit. @throws KmendError `NO_SUCH_COMMIT` */
  async requireCommit(name: string): Promise<string> {
    const found = await this.commit(name);
    if (found !== undefined) return found;
    throw new KmendError({
      code: "NO_SUCH_COMMIT",
      message: `there is no commit ${name}`,
      where: this.path,
      hint: "git log --oneline --all shows what there is",
      exitCode: ExitCode.usage,
    });
  }

  /** @throws KmendError `DIRTY_TREE` with the files that are changed but not committed. Files that git does not know do not count. */
  async requireClean(): Promise<void> {
    const status = await this.#must([
      "status",
      "--porcelain=v1",
      "-z",
      "--no-renames",
      "--untracked-files=no",
      "--ignore-submodules=dirty",
    ]);
    const files = status.split("\0").filter((line) => line !== "");
    if (files.length === 0) return;
    throw new KmendError({
      code: "DIRTY_TREE",
      message: "the working tree has changes that are not committed",
      where: this.path,
      why: files.map((line) => line.slice(3)).join("\n"),
      hint: "commit them, or stash them with git stash",
    });
  }

  /** Lets {@link originalRef} name a commit. */
  async remember(commit: string, why: string): Promise<void> {
    await this.#must(["update-ref", "--create-reflog", "-m", `ksplice-create: ${why}`, originalRef, commit]);
  }

  /** Whether two commits have the same files. */
  async sameFiles(one: string, other: string): Promise<boolean> {
    return (await this.#must(["rev-parse", `${one}^{tree}`])) === (await this.#must(["rev-parse", `${other}^{tree}`]));
  }

  /** Time of a commit in seconds since 1970. */
  async timeOf(commit: string): Promise<number> {
    return Number(await this.#must(["show", "-s", "--format=%ct", commit]));
  }

  /** Files that differ between two commits. @throws KmendError `GIT_SPECIAL_FILE` for links and sub-repositories. */
  async changes(from: string, to: string): Promise<ChangedFile[]> {
    const raw = await this.#must(["diff", "--raw", "-z", "--no-abbrev", "--no-renames", from, to]);
    const fields = raw.split("\0").filter((field) => field !== "");
    const files: ChangedFile[] = [];
    for (let at = 0; at + 1 < fields.length; at += 2) {
      const path = fields[at + 1] as string;
      const [oldMode = "", newMode = "", oldBlob = "", newBlob = ""] = (fields[at] as string).slice(1).split(" ");
      for (const mode of [oldMode, newMode]) if (!/^(100644|100755|000000)$/.test(mode)) throw specialFile(path);
      files.push(...changedFile(path, await this.#content(oldMode, oldBlob), await this.#content(newMode, newBlob)));
    }
    return files;
  }

  /** The change between two commits with the text of `git diff`; the message comes first when the one follows the other directly. */
  async read(from: string, to: string): Promise<TextualChange> {
    const files = await this.changes(from, to);
    const plain = [
      "--no-color",
      "--no-ext-diff",
      "--no-textconv",
      "--no-renames",
      "--src-prefix=a/",
      "--dst-prefix=b/",
    ];
    const diff = await this.#must(["diff", ...plain, "-a", from, to]);
    const parents = (await this.#must(["show", "-s", "--format=%P", to])).trim().split(" ");
    const log = parents.includes(from)
      ? `${(await this.#must(["show", "-s", "--format=medium", to])).trimEnd()}\n\n`
      : "";
    const text = Buffer.from(`${log}${diff}`, "utf8");
    return { change: { files, patches: [{ name: to, sha256: sha256(text) }], notes: [] }, text, inputs: [] };
  }

  /** What differs between two commits, as an overlay of the first. */
  async overlay(from: string, to: string): Promise<SourceOverlay> {
    return new Map((await this.changes(from, to)).map(({ path, patched }) => [path, patched]));
  }

  /** Writes all files of a commit into a new folder. */
  async writeTo(commit: string, folder: string, archive: string): Promise<void> {
    await this.#must(["archive", "--format=tar", `--output=${archive}`, commit]);
    await run("tar", ["-xf", archive, "-C", folder], { signal: this.#signal });
  }

  async #content(mode: string, blob: string): Promise<Uint8Array | null> {
    if (mode === "000000") return null;
    // The output of a program is read as text, which not every source file is.
    const { stdout } = await run("sh", ["-c", 'git -C "$1" cat-file blob "$2" | base64 -w0', "sh", this.path, blob], {
      env: await quietGitEnvironment(this.path, this.#signal),
      cleanEnv: true,
      signal: this.#signal,
    });
    return Buffer.from(stdout, "base64");
  }

  async #must(words: readonly string[]): Promise<string> {
    const result = await this.#git(words);
    if (result.exitCode === 0) return result.stdout;
    throw new KmendError({
      code: "GIT_FAILED",
      message: `git ${words[0]} failed`,
      where: this.path,
      why: result.stderr.trim(),
    });
  }

  async #git(words: readonly string[]): Promise<RunResult> {
    const env = await quietGitEnvironment(this.path, this.#signal);
    const settings = { env, cleanEnv: true, allowFailure: true, signal: this.#signal };
    return run("git", ["-C", this.path, ...words], settings);
  }
}

function specialFile(path: string): KmendError {
  return new KmendError({
    code: "GIT_SPECIAL_FILE",
    message: `${path} is a link or a repository of its own`,
    why: "a live patch changes source files",
    hint: "leave it out of the commit",
  });
}

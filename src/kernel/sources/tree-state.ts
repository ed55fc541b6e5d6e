import { lstat, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { sha256 } from "../../support/cache.ts";
import { KmendError, messageOf } from "../../support/errors.ts";
import { walk } from "../../support/find-files.ts";
import { quietGitEnvironment } from "../../support/quiet-git.ts";
import { run } from "../../support/run.ts";

/** What is in a kernel source tree of the user's at one moment. */
export interface TreeState {
  /** Source files, links included, relative to the tree; what a build made is left out where that can be told. */
  readonly files: readonly string[];
  /** Two states with the same digest have the same sources. */
  readonly digest: string;
}

/**
 * Reads which files a tree consists of, and a digest of their state. Nothing is written, neither by kmend nor by git, which may otherwise refresh its index.
 * For a git tree the digest is that of HEAD and of the content of what differs from it, and ignored files do not count; for others, and where git does
 * not answer, that of path, size and time of every file.
 * @throws KmendError `SOURCE_UNREADABLE`
 */
export async function readTreeState(tree: string, signal?: AbortSignal): Promise<TreeState> {
  return (await gitState(tree, signal)) ?? (await folderState(tree, madeAtTop, signal));
}

/**
 * Reads the same of the source of an external module. Git is not asked, since what a configure script made belongs to the source, and git ignores it; nor
 * do the names count that a build leaves at the top of a kernel.
 * @throws KmendError `SOURCE_UNREADABLE`
 */
export function readModuleSourceState(folder: string, signal?: AbortSignal): Promise<TreeState> {
  return folderState(folder, undefined, signal);
}

/** Git as a reader, which runs nothing that the repository names. */
async function git(
  tree: string,
  signal: AbortSignal | undefined,
  ...words: readonly string[]
): Promise<string | undefined> {
  const env = await quietGitEnvironment(tree, signal);
  const { exitCode, stdout } = await run("git", ["-C", tree, ...words], {
    env,
    cleanEnv: true,
    signal,
    allowFailure: true,
  });
  return exitCode === 0 ? stdout : undefined;
}

/** Undefined when `tree` is not the top of a git tree with a commit, or when most of it is unknown to git. */
async function gitState(tree: string, signal: AbortSignal | undefined): Promise<TreeState | undefined> {
  const above = await git(tree, signal, "rev-parse", "--show-cdup");
  signal?.throwIfAborted();
  if (above?.trim() !== "") return undefined;
  const [head, known, deleted, status] = await Promise.all([
    git(tree, signal, "rev-parse", "--verify", "HEAD"),
    git(tree, signal, "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
    git(tree, signal, "ls-files", "-z", "--deleted"),
    git(
      tree,
      signal,
      "status",
      "--porcelain=v2",
      "-z",
      "--no-renames",
      "--untracked-files=all",
      "--ignore-submodules=dirty",
    ),
  ]);
  signal?.throwIfAborted();
  if (head === undefined || known === undefined || deleted === undefined || status === undefined) return undefined;
  const gone = new Set(deleted.split("\0"));
  const files = [...new Set(known.split("\0"))].filter((file) => file !== "" && !gone.has(file)).sort();
  if (!["Makefile", "Kbuild"].every((file) => files.includes(file))) return undefined;
  const changes = await Promise.all(
    status
      .split("\0")
      .filter((line) => line !== "")
      .map(async (line) => `${line} ${await contentOf(tree, line)}`),
  );
  return { files, digest: sha256("git\0", head, changes.join("\0")) };
}

/**
 * State of a file that `git status` lists: content of a tracked file, since a check-out and back changes only its time; size and time of an untracked one,
 * which may be anything. The path is the last field (git-status(1), "Porcelain Format Version 2"; `? path`, `1 XY sub mH mI mW hH hI path`,
 * `u XY sub m1 m2 m3 mW h1 h2 h3 path`).
 */
async function contentOf(tree: string, line: string): Promise<string> {
  const fields = { "?": 1, "1": 8, u: 10 }[line[0] as string];
  if (fields === undefined) return "";
  const path = join(tree, line.split(" ").slice(fields).join(" "));
  try {
    const found = await lstat(path);
    if (line.startsWith("?")) return `${found.size} ${found.mtimeMs}`;
    if (found.isSymbolicLink()) return sha256(await readlink(path));
    // A read of a pipe or device may never end.
    return found.isFile() ? sha256(await readFile(path)) : "no file";
  } catch {
    return "gone";
  }
}

/** What the kernel's build leaves in its source folders (`make distclean`); no file of the source has such a name. */
const products = [
  "*.o",
  "*.a",
  "*.ko",
  "*.mod",
  "*.mod.c",
  "*.cmd",
  "*.order",
  "*.symvers",
  "*.d",
  "*.dwo",
  "*.su",
  "*.gcno",
];
/** Made at the top, or as whole folders. */
const madeAtTop =
  /^(\.config(\.old)?|vmlinux(\..*|-.*)?|\.tmp_.*|\.vmlinux.*|System\.map|modules\.\w+(\.\w+)?|include\/(config|generated)\/.*|arch\/[^/]+\/include\/generated\/.*|arch\/x86\/boot\/(bzImage|vmlinux\.bin|compressed\/vmlinux(\.bin.*|\.relocs)?))$/;

async function folderState(
  tree: string,
  made: RegExp | undefined,
  signal: AbortSignal | undefined,
): Promise<TreeState> {
  const names = products.flatMap((name) => ["-o", "-name", name]).slice(1);
  const hidden = ["-name", ".git", "-o", "(", "-not", "-type", "d", "(", ...names, ")", ")"];
  const listed = ["-not", "-type", "d", "-printf", "%P\\t%s\\t%T@\\t%m\\t%l\\0"];
  const args = [tree, "-mindepth", "1", "(", ...hidden, ")", "-prune", "-o", ...listed];
  const result = await walk("find", args, { signal }).catch((error: unknown) => {
    throw error instanceof KmendError && error.code === "PROGRAM_FAILED" ? unreadable(tree, error.why) : error;
  });
  const entries = result.stdout
    .split("\0")
    .filter((entry) => entry !== "" && made?.test(entry.slice(0, entry.indexOf("\t"))) !== true)
    .sort();
  const files = entries.map((entry) => entry.slice(0, entry.indexOf("\t")));
  return { files, digest: sha256("folder\0", tree, "\0", entries.join("\0")) };
}

/** The error for a file of the user's tree that cannot be read. */
export function unreadable(where: string, cause: unknown): KmendError {
  return new KmendError({
    code: "SOURCE_UNREADABLE",
    message: "the source cannot be read",
    where,
    why: typeof cause === "string" ? cause : messageOf(cause),
    hint: "run kmend as a user who can read all of it",
    cause,
  });
}

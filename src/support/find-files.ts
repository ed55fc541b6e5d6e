import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { KmendError, systemErrorCode } from "./errors.ts";
import { type RunResult, run } from "./run.ts";

/** How a program that walks through folders is run. */
export interface WalkOptions {
  readonly cwd?: string | undefined;
  readonly input?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Exit codes that are no failure, for grep(1): 1 says that nothing was found. */
  readonly fine?: readonly number[] | undefined;
}

/**
 * Runs find(1) or grep(1) over folders in which others may work: make(1) makes folders `.tmp_PID` at the top of a kernel tree for each option that it
 * tries on the compiler (scripts/Makefile.compiler, try-run) and removes them a moment later, also when it is only asked what it would do. A file or
 * folder that is gone before it is looked at is as if it had never been; every other failure is one.
 * @throws KmendError `PROGRAM_FAILED`
 */
export async function walk(
  program: "find" | "grep",
  words: readonly string[],
  options: WalkOptions = {},
): Promise<RunResult> {
  const { fine = [0], ...settings } = options;
  const result = await run(program, words, { ...settings, allowFailure: true });
  settings.signal?.throwIfAborted();
  if (fine.includes(result.exitCode)) return result;
  const complaints = result.stderr.split("\n").filter((line) => line !== "");
  if (
    complaints.length > 0 &&
    complaints.every((line) => line.endsWith(": No such file or directory")) &&
    !isTop(complaints, words)
  )
    return result;
  throw new KmendError({
    code: "PROGRAM_FAILED",
    message: `${program} failed with exit code ${result.exitCode}`,
    where: options.cwd,
    why: complaints.slice(-20).join("\n"),
  });
}

/**
 * All entries below a folder in which others may work: what is gone before it is looked at is as if it had never been. readdir(recursive) of Node fails
 * then, and whoever takes that for an empty folder loses all the others.
 * @param options with `follow`, folders that are links are walked as well.
 * @throws errors of the file system, when the folder itself is missing too.
 */
export async function entriesBelow(folder: string, { follow = false } = {}): Promise<Dirent[]> {
  const all = await readdir(folder, { withFileTypes: true });
  for (let next = 0; next < all.length; next++) {
    const entry = all[next] as Dirent;
    const path = join(entry.parentPath, entry.name);
    const isFolder =
      entry.isDirectory() ||
      (follow &&
        entry.isSymbolicLink() &&
        (await stat(path).then(
          (target) => target.isDirectory(),
          () => false,
        )));
    if (isFolder) all.push(...(await readdir(path, { withFileTypes: true }).catch(noneIfGone)));
  }
  return all;
}

function noneIfGone(error: unknown): Dirent[] {
  if (["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? "")) return [];
  throw error;
}

/** The same, without any where the folder itself is missing. */
export async function entriesBelowIfAny(
  folder: string,
  options: { readonly follow?: boolean } = {},
): Promise<Dirent[]> {
  return entriesBelow(folder, options).catch(noneIfGone);
}

/** Whether one of the folders that were to be walked is missing itself. */
function isTop(complaints: readonly string[], words: readonly string[]): boolean {
  return complaints.some((line) =>
    words.some((word) => line.includes(`‘${word}’:`) || line.includes(`: ${word}: `) || line.includes(`'${word}':`)),
  );
}

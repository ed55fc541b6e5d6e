import { copyFile, lstat, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, normalize } from "node:path";
import { exists, rethrowDiskErrors, sha256 } from "../support/cache.ts";
import { ExitCode, KmendError, messageOf, systemErrorCode } from "../support/errors.ts";
import { readInputFile } from "../support/input-file.ts";
import { makeFolder } from "../support/make-folder.ts";
import { run } from "../support/run.ts";
import { type ChangedFile, type ChangeSet, changedFile, readOriginal, type SourceOverlay } from "./change-set.ts";
import { type NamedFile, type ScannedPatch, scanPatch } from "./patch-scan.ts";

/** One patch file that was read and understood. */
export interface PatchFile {
  /** As the user gave it. */
  readonly name: string;
  readonly content: Buffer;
  /** Files it touches, relative to the tree, strip level applied. */
  readonly files: readonly { readonly old: string | null; readonly new: string | null }[];
  /** The lines of `content` that are a diff, which alone are applied. */
  readonly diff: Buffer;
  /** Names of the files as they stand in the patch. */
  readonly names: readonly string[];
}

/**
 * Reads a unified diff.
 * @param strip how many leading folders of its file names to drop, as patch -p does; `all` for patch without that option.
 * @throws KmendError `PATCH_MISSING`, `PATCH_EMPTY`, `PATCH_BINARY`, `PATCH_MALFORMED`, `PATCH_PATH`, `PATCH_SPECIAL_FILE`
 */
export async function readPatchFile(name: string, strip: number | "all" = 1): Promise<PatchFile> {
  const content = await readInputFile(name).catch((error: unknown) => {
    const missing = systemErrorCode(error) === "ENOENT";
    if (error instanceof KmendError) throw error;
    throw new KmendError({
      code: "PATCH_MISSING",
      message: missing ? `there is no patch file ${name}` : `cannot read the patch file: ${messageOf(error)}`,
      where: name,
      hint: "give the path of a unified diff, as `diff -u` or `git diff` writes it",
      exitCode: missing ? ExitCode.usage : ExitCode.failure,
      cause: error,
    });
  });
  if (content.length === 0 || content.toString("latin1").trim() === "") {
    throw new KmendError({
      code: "PATCH_EMPTY",
      message: "the patch file is empty",
      where: name,
      hint: "make it again with `git diff` or `diff -u`",
    });
  }
  if (content.includes(0)) {
    throw new KmendError({
      code: "PATCH_BINARY",
      message: "the patch file is binary",
      where: name,
      why: "it holds zero bytes, which no unified diff of source code has",
      hint: "unpack it first if it is compressed",
    });
  }
  const text = content.toString("utf8");
  if (/^(GIT binary patch|Binary files .* differ)$/m.test(text)) {
    throw new KmendError({
      code: "PATCH_BINARY",
      message: "the patch changes binary files",
      where: name,
      hint: "leave the binary files out: a live patch changes code",
    });
  }
  // Sources are not always UTF-8: each byte stands for itself in what is applied.
  const { files, special } = scanned(name, text);
  const [first] = special;
  if (first !== undefined) throw specialFile(`${name}: ${first.name}`, `its mode is ${first.mode}`);
  const { diff } = scanned(name, content.toString("latin1"));
  const names = files.flatMap((file) => [file.old, file.new]).filter((file) => file !== "/dev/null");
  return { name, content, files: touchedFiles(name, files, strip), names, diff: Buffer.from(diff, "latin1") };
}

function scanned(name: string, text: string): ScannedPatch {
  try {
    return scanPatch(text);
  } catch (error) {
    throw malformed(name, messageOf(error), error);
  }
}

function touchedFiles(name: string, named: readonly NamedFile[], strip: number | "all"): PatchFile["files"] {
  const files = named.map((file) => ({ old: stripped(name, file.old, strip), new: stripped(name, file.new, strip) }));
  if (files.length === 0 || files.some((file) => file.old === null && file.new === null)) {
    throw malformed(name, files.length === 0 ? "it holds no hunk" : "a hunk comes without file names");
  }
  return files;
}

function malformed(name: string, why: string, cause?: unknown): KmendError {
  return new KmendError({
    code: "PATCH_MALFORMED",
    message: "this is not a unified diff",
    where: name,
    why,
    hint: "make it with `git diff` or `diff -u`; join lines that a mail program wrapped",
    cause,
  });
}

/** Drops `strip` leading folders; null for /dev/null. Names that leave the tree are refused. */
function stripped(patch: string, file: string, level: number | "all"): string | null {
  if (file === "/dev/null" || file === "") return null;
  const parts = file.split("/").filter((part, index) => part !== "" || index === 0);
  const strip = level === "all" ? Math.max(0, parts.length - 1) : level;
  const path = normalize(parts.slice(strip).join("/"));
  if (parts.length <= strip || path.startsWith("..") || isAbsolute(path)) {
    throw new KmendError({
      code: "PATCH_PATH",
      message: `the patch names ${file}, which is not a file of a kernel tree at strip level ${strip}`,
      where: patch,
      hint: "file names in the patch must look like a/fs/file.c",
    });
  }
  return path;
}

/**
 * Applies patches in order to copies of the files that they touch; the tree is only read.
 * @param work a private folder.
 * @param options of patch(1).
 * @param earlier content of files that differ from the tree before the patches already; null for one that is gone.
 * @throws KmendError `PATCH_DOES_NOT_APPLY` with file and hunk, `PATCH_REVERSED`
 */
export async function applyPatches(
  patches: readonly PatchFile[],
  tree: string,
  work: string,
  options: readonly string[] = ["-p1"],
  earlier: SourceOverlay = new Map(),
): Promise<ChangeSet> {
  const touched = new Set<string>();
  const notes: string[] = [];
  for (const patch of patches) {
    for (const file of patch.files) {
      for (const path of [file.old, file.new])
        if (path !== null) await copyFromTree(path, touched, tree, work, earlier);
    }
    const before = await Promise.all(patch.files.map((file) => anyThere(file, work)));
    try {
      notes.push(...(await applyOne(patch, work, options)));
    } catch (error) {
      throw (await wrongStripLevel(error, patch, tree)) ?? error;
    }
    for (const [index, file] of patch.files.entries()) {
      for (const path of [file.old, file.new]) if (path !== null) await requirePlain(work, path, "the patch");
      if (before[index] === false && !(await anyThere(file, work))) throw otherName(patch.name, file);
    }
  }
  const files: ChangedFile[] = [];
  for (const path of [...touched].sort()) {
    const original = await readOriginal(tree, path, earlier);
    await requirePlain(work, path, "the patch");
    const patched = await readFile(join(work, path)).catch(() => null);
    files.push(...changedFile(path, original, patched));
  }
  return {
    files,
    patches: patches.map(({ name, content }) => ({ name: basename(name), sha256: sha256(content) })),
    notes,
  };
}

type NamesOfFile = PatchFile["files"][number];

function anyThere({ old, new: fresh }: NamesOfFile, folder: string): Promise<boolean> {
  const there = [old, fresh].map((path) => path !== null && exists(join(folder, path)));
  return Promise.all(there).then((found) => found.includes(true));
}

/** patch(1) ends the name of a file at a blank, so it makes another file than the one that the patch names. */
function otherName(patch: string, { old, new: fresh }: NamesOfFile): KmendError {
  return new KmendError({
    code: "PATCH_PATH",
    message: `the patch adds ${fresh ?? old}, and patch(1) made no file of that name`,
    where: patch,
    why: "it reads a name only up to the first blank, so the patch's content for this file would be lost",
    hint: "give the file a name without blanks, or leave it out of the patch",
  });
}

async function copyFromTree(
  path: string,
  touched: Set<string>,
  tree: string,
  work: string,
  earlier: SourceOverlay,
): Promise<void> {
  if (touched.has(path)) return;
  touched.add(path);
  // An earlier patch may have made something of a folder on the way.
  await requirePlain(work, path, "an earlier patch");
  await makeFolder(dirname(join(work, path))).catch(rethrowDiskErrors);
  const known = earlier.get(path);
  if (known !== undefined) {
    if (known !== null) await writeFile(join(work, path), known).catch(rethrowDiskErrors);
    return;
  }
  await requirePlain(tree, path, "this kernel's source");
  if (await exists(join(tree, path))) await copyFile(join(tree, path), join(work, path)).catch(rethrowDiskErrors);
}

/** @throws KmendError `PATCH_SPECIAL_FILE` when the file, or a folder that leads to it, is a link, device or pipe. */
async function requirePlain(folder: string, path: string, whose: string): Promise<void> {
  const parts = path.split("/");
  for (let length = 1; length <= parts.length; length++) {
    const part = parts.slice(0, length).join("/");
    const found = await lstat(join(folder, part)).catch(() => undefined);
    if (found === undefined) return;
    if (length < parts.length ? !found.isDirectory() && !found.isFile() : !found.isFile())
      throw specialFile(
        path,
        `${part} of ${whose} is ${found.isSymbolicLink() ? "a symbolic link" : "not a plain file"}`,
      );
  }
}

function specialFile(where: string, why: string): KmendError {
  return new KmendError({
    code: "PATCH_SPECIAL_FILE",
    message: "the patch touches a link, a device or a pipe",
    where,
    why: `${why}; a live patch changes plain source files`,
    hint: "leave it out of the patch, or name the file that the link leads to",
  });
}

/** Most folders that are tried to be dropped from the names of a patch. */
const stripLevels = 3;

/** The error for a patch whose files are there, but at another strip level; undefined for every other failure. */
async function wrongStripLevel(error: unknown, patch: PatchFile, tree: string): Promise<KmendError | undefined> {
  if (!(error instanceof KmendError) || error.code !== "PATCH_DOES_NOT_APPLY") return undefined;
  const isThere = (path: string | null): Promise<boolean> =>
    path === null ? Promise.resolve(false) : exists(join(tree, path));
  for (const { old, new: fresh } of patch.files) if ((await isThere(old)) || (await isThere(fresh))) return undefined;
  for (let level = 0; level <= stripLevels; level++) {
    for (const name of patch.names) {
      const path = name.split("/").slice(level).join("/");
      if (path === "" || path.startsWith("/") || path.split("/").includes("..") || !(await isThere(path))) continue;
      return new KmendError({
        code: "PATCH_DOES_NOT_APPLY",
        message: "the file names of the patch belong to another strip level",
        where: `${patch.name}: ${name}`,
        why: `this kernel's source has ${path}, which is the name at strip level ${level} (patch -p${level}); names are expected to begin with a/ and b/`,
        hint: "make the patch with `git diff`, or with `diff -urNp a b` one folder above the trees",
        cause: error,
      });
    }
  }
  return undefined;
}

async function applyOne(patch: PatchFile, work: string, options: readonly string[]): Promise<string[]> {
  const rejects = join(work, ".kmend-rejects");
  const args = [...options, "--batch", "--forward", "--no-backup-if-mismatch", `--reject-file=${rejects}`];
  const result = await run("patch", args, { cwd: work, input: patch.diff, allowFailure: true });
  await rm(rejects, { force: true });
  if (result.exitCode !== 0)
    throw applyError(patch, result.all.replaceAll(` -- saving rejects to file ${rejects}`, ""));
  const notes: string[] = [];
  let file = "";
  for (const line of result.all.split("\n")) {
    file = /^patching file '?(.*?)'?$/.exec(line)?.[1] ?? file;
    const hunk = /^Hunk #(\d+) succeeded at (\d+)(?: with fuzz (\d+))?(?: \(offset (-?\d+) lines?\))?/.exec(line);
    if (hunk?.[3] !== undefined) {
      notes.push(
        `${basename(patch.name)}: hunk ${hunk[1]} of ${file} applied with fuzz ${hunk[3]} at line ${hunk[2]}; check that it is the right place`,
      );
    } else if (hunk !== null)
      notes.push(`${basename(patch.name)}: hunk ${hunk[1]} of ${file} applied at line ${hunk[2]} (offset ${hunk[4]})`);
  }
  return notes;
}

/** Finds the first file and hunk that patch(1) could not place. */
function applyError(patch: PatchFile, output: string): KmendError {
  let file = patch.files[0]?.new ?? patch.files[0]?.old ?? "";
  const failures: string[] = [];
  let reversed = false;
  let missing = false;
  for (const line of output.split("\n")) {
    file = /^patching file '?(.*?)'?$/.exec(line)?.[1] ?? file;
    const failed = /^Hunk #(\d+) (?:FAILED|ignored) at (\d+)/.exec(line);
    if (failed !== null) failures.push(`${file}: hunk ${failed[1]} (line ${failed[2]})`);
    if (/Reversed \(or previously applied\) patch detected/.test(line)) reversed = true;
    if (/can't find file to patch|No file to patch/.test(line)) missing = true;
    const place = /Can't create temporary file (\S+)/.exec(line)?.[1];
    if (place !== undefined) rethrowDiskErrors(Object.assign(new Error(line), { code: "EACCES", path: place }));
    if (/No space left on device/.test(line)) rethrowDiskErrors(Object.assign(new Error(line), { code: "ENOSPC" }));
  }
  if (reversed) {
    return new KmendError({
      code: "PATCH_REVERSED",
      message: "the patch is already in this kernel's source, or reversed",
      where: `${patch.name}: ${file}`,
      why: "its new lines are there and its old ones are not",
      hint: "check the kernel version; if the patch was made in the wrong direction, reverse it with `interdiff` or `git diff -R`",
    });
  }
  return new KmendError({
    code: "PATCH_DOES_NOT_APPLY",
    message: "the patch does not apply to this kernel's source",
    where: `${patch.name}: ${failures[0] ?? file}`,
    why: missing
      ? `this kernel's source has no ${file}`
      : failures.length > 0
        ? `no place fits ${failures.join("; ")}`
        : output.trim().split("\n").slice(-5).join("\n"),
    hint: "port the patch to the version of the target kernel",
  });
}

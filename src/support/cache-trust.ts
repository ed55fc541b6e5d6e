import { lstatSync, readdirSync, realpathSync, type Stats } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { ExitCode, KmendError, systemErrorCode } from "./errors.ts";
import { walk } from "./find-files.ts";

/** Folders of the cache are looked into this deep; {@link requireTrustedFolder} looks deeper. */
const depth = 3;

/** Write permission of the group and of everybody else, and the sticky bit, which keeps others from renaming what is mine (chmod(2)). */
const groupWrites = 0o020;
const othersWrite = 0o002;
const sticky = 0o1000;

const trusted = new Set<string>();

/**
 * Makes sure that nobody else can write into the cache: compile commands that are kept there are run as the user who builds. A cache that does not exist
 * yet is made below the closest folder that does.
 * @throws KmendError `CACHE_UNTRUSTED` (exit 5) with the first file or folder that somebody else owns or may write
 */
export function requireTrustedCache(root: string): void {
  if (trusted.has(root)) return;
  const place = closest(root);
  requireSafeWay(root, root);
  requireSafeWay(root, place.path);
  if (!place.isWhole) {
    const problem = problemOfFolderAbove(lstatSync(place.path));
    if (problem !== undefined) throw untrusted(root, place.path, problem);
    return;
  }
  requireOwn(root, place.path, depth);
  trusted.add(root);
}

/**
 * Looks at the folders that lead to a path, and at links among them as what they are: who owns one can let it lead elsewhere. They may belong to the system or,
 * with the group, to this user.
 */
function requireSafeWay(root: string, path: string): void {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const found = statOf(folder);
    const problem = found === undefined ? undefined : problemOfFolderAbove(found);
    if (problem !== undefined) throw untrusted(root, folder, problem);
    if (folder === dirname(folder)) break;
  }
  const found = statOf(path);
  if (found?.isSymbolicLink() === true && !isMine(found))
    throw untrusted(root, path, `it is a link that belongs to user ${found.uid}`);
}

/**
 * The same for what is in one folder of the cache, before programs in it are run. A tree has tens of thousands of files: find(1) looks through them in another process.
 * @param levels of folders below it that are looked into.
 * @throws KmendError `CACHE_UNTRUSTED` (exit 5)
 */
export async function requireTrustedFolder(folder: string, levels: number): Promise<void> {
  if (trusted.has(folder)) return;
  const suspects = await suspectsIn(folder, levels);
  if (suspects === undefined) requireOwn(folder, folder, levels);
  else for (const path of suspects) requireOwn(folder, path, levels - depthBelow(folder, path));
  trusted.add(folder);
}

/** Whatever is a link, belongs to somebody else or may be written by others; undefined where find(1) is not there, or did not see all. */
async function suspectsIn(folder: string, levels: number): Promise<string[] | undefined> {
  const foreign = ["!", "-uid", `${process.geteuid?.() ?? 0}`, "!", "-uid", "0"];
  const kinds = ["(", "-type", "l", "-o", "(", ...foreign, ")", "-o", "-perm", "/022", ")"];
  const words = [folder, "-maxdepth", `${levels}`, ...kinds, "-print0"];
  const found = await walk("find", words).catch(() => undefined);
  // A name that is no UTF-8 could not be looked at again.
  if (found === undefined || found.stdout.includes("\uFFFD")) return undefined;
  return found.stdout.split("\0").flatMap((path) => (path === "" ? [] : [normalize(path)]));
}

function depthBelow(folder: string, path: string): number {
  return path === folder ? 0 : relative(folder, path).split("/").length;
}

/** The path without links, or that of the closest folder above which exists. */
function closest(root: string): { readonly path: string; readonly isWhole: boolean } {
  for (let path = root; ; path = dirname(path)) {
    try {
      return { path: realpathSync(path), isWhole: path === root };
    } catch {
      if (path === dirname(path)) return { path: "/", isWhole: false };
    }
  }
}

/** @param levels of folders below the path that are looked into. */
function requireOwn(root: string, path: string, levels: number): void {
  const found = statOf(path);
  if (found === undefined) return;
  const problem = isMine(found) ? writableBy(found) : `it belongs to user ${found.uid}`;
  if (problem !== undefined) throw untrusted(root, path, problem);
  if (found.isSymbolicLink()) requireTarget(root, path, levels);
  if (!found.isDirectory() || levels === 0) return;
  for (const name of namesIn(path)) requireOwn(root, join(path, name), levels - 1);
}

/** A link of the cache leads to a folder that is as much this user's. */
function requireTarget(root: string, path: string, levels: number): void {
  const { path: target, isWhole } = closest(path);
  if (!isWhole || target.startsWith(`${root}/`)) return;
  requireSafeWay(root, target);
  requireOwn(root, target, levels);
}

/** Other processes make and remove files and folders here meanwhile. */
function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
}

function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function isMine({ uid }: Stats): boolean {
  return uid === process.geteuid?.() || uid === 0;
}

function writableBy(found: Stats): string | undefined {
  // A link's own mode says nothing; what it leads to is the user's to choose.
  if (found.isSymbolicLink()) return undefined;
  if ((found.mode & othersWrite) !== 0) return "everybody may write to it";
  return (found.mode & groupWrites) !== 0 ? `group ${found.gid} may write to it` : undefined;
}

function problemOfFolderAbove(found: Stats): string | undefined {
  if (!isMine(found)) return `it belongs to user ${found.uid}`;
  if (found.isSymbolicLink()) return undefined;
  if ((found.mode & sticky) !== 0) return undefined;
  if ((found.mode & othersWrite) !== 0) return "everybody may write to it";
  const isOwnGroup = found.uid === 0 || found.gid === process.getegid?.();
  return (found.mode & groupWrites) !== 0 && !isOwnGroup ? `group ${found.gid} may write to it` : undefined;
}

function untrusted(root: string, where: string, why: string): KmendError {
  return new KmendError({
    code: "CACHE_UNTRUSTED",
    message: `others can write to the cache ${root}`,
    where,
    why: `${why}; compile commands that are kept in the cache are run as the user who builds`,
    hint: `choose a folder that is only yours with KMEND_CACHE=DIR, or remove the cache; when nobody has abused it: chmod -R go-w ${root}`,
    exitCode: ExitCode.environment,
  });
}

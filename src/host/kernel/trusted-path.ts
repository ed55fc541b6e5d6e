import { lstat, readlink, realpath, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { installFolder } from "../installed/installed.ts";

/**
 * Why an installed file is not to be relied on: it, its folder and the folders above it must belong to root and be writable by nobody else, or whoever
 * can write there decides what the kernel runs. Where a link is on the way, the same goes for all folders above what it leads to.
 * @returns a sentence; undefined when nothing speaks against it, or when it is not one of the installed files.
 */
export async function untrusted(root: string, path: string): Promise<string | undefined> {
  const inside = relative(join(root, installFolder), path);
  if (inside === "" || inside.startsWith("..")) return undefined;
  const top = join(root, "/var");
  for (let at = path; at.startsWith(top); at = dirname(at)) {
    const problem = await problemOf(at);
    if (problem !== undefined) return `${at} ${problem}`;
  }
  const base = await realpath(root);
  const way = await wayBehindLinks(join(base, relative(resolve(root), path)));
  if (way === undefined) return `${path} cannot be looked at`;
  for (const at of way) {
    if (at === base || base.startsWith(at === "/" ? at : `${at}/`)) continue;
    const problem = await problemOf(at);
    if (problem !== undefined) return `${at} ${problem}, and ${path} leads there`;
  }
  return undefined;
}

/** As many as the kernel follows (path_resolution(7)). */
const linkLimit = 40;

/** All files, folders and links that are looked up from the first link on the way to a path on; undefined when it leads nowhere. */
async function wayBehindLinks(path: string): Promise<string[] | undefined> {
  const visited: string[] = [];
  let left = path.split("/").filter(Boolean);
  let at = "/";
  for (let links = 0; left.length > 0; ) {
    const [name, ...rest] = left as [string, ...string[]];
    const next = join(at, name);
    const found = await lstat(next).catch(() => undefined);
    if (found === undefined) return undefined;
    if (links > 0) visited.push(next);
    if (!found.isSymbolicLink()) {
      [at, left] = [next, rest];
      continue;
    }
    if (++links > linkLimit) return undefined;
    visited.push(next);
    const target = await readlink(next);
    left = [...target.split("/").filter(Boolean), ...rest];
    if (isAbsolute(target)) at = "/";
  }
  return visited;
}

async function problemOf(path: string): Promise<string | undefined> {
  try {
    // A link counts as what it leads to, and has to be root's as well.
    for (const entry of [await lstat(path), await stat(path)]) {
      if (!isOwn(entry.uid)) return `belongs to user ${entry.uid}, and not to root`;
      if (!entry.isSymbolicLink() && (entry.mode & 0o022) !== 0) {
        return `may be written to by others than root (mode ${(entry.mode & 0o7777).toString(8)})`;
      }
    }
    return undefined;
  } catch {
    return "cannot be looked at";
  }
}

/** Root, or whoever runs this: what an ordinary user is only shown need not be root's. */
function isOwn(uid: number): boolean {
  return uid === 0 || uid === process.geteuid?.();
}

import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { sweepTemporaries } from "../../support/cache.ts";
import { isInUse, retireFolder } from "../../support/kept-folders.ts";
import { run } from "../../support/run.ts";
import { readRoot, rootsFolder } from "./build-root.ts";

/** Something in the cache, as a person thinks of it. */
export interface CachePart {
  /** A build root, what belongs to one kernel, or a folder with parts of one other kind. */
  readonly kind: "root" | "kernel" | "folder";
  readonly path: string;
  /** The compiler of a root, the release of a kernel where it is known, the name of a folder. */
  readonly name: string;
  /** Bytes on the disk. */
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly used: number;
}

/** What the cache holds: each build root and each kernel, and the rest by folder; the largest of each kind first. */
export async function cacheContents(cache: string, signal?: AbortSignal): Promise<readonly CachePart[]> {
  const names = await namesIn(cache);
  const parts: Omit<CachePart, "size">[] = [];
  for (const name of names) {
    const path = join(cache, name);
    const isOfParts = path === rootsFolder(cache) || path === kernelsFolder(cache);
    const inside = isOfParts ? (await namesIn(path)).filter((inner) => !inner.endsWith(".lock")) : undefined;
    for (const inner of inside ?? []) parts.push(await describe(join(path, inner), name === "roots"));
    if (inside === undefined) parts.push({ kind: "folder", path, name, used: await usedAt(path) });
  }
  const sizes = await sizesOf(
    parts.map(({ path }) => path),
    signal,
  );
  const order = ["root", "kernel", "folder"];
  return parts
    .map((part, index) => ({ ...part, size: sizes[index] ?? 0 }))
    .sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || b.size - a.size);
}

/**
 * Removes build roots and what was made for kernels that no process uses and nobody has used for a time.
 * @param age milliseconds.
 * @returns what was removed.
 */
export async function pruneCache(cache: string, age: number, signal?: AbortSignal): Promise<readonly CachePart[]> {
  await sweepTemporaries(rootsFolder(cache));
  const contents = await cacheContents(cache, signal);
  const used = new Set<string>();
  for (const { kind, path } of contents) if (kind === "kernel" && (await isKernelInUse(path))) used.add(path);
  const old = contents.filter(({ kind, path, used: last }) => {
    // A build that runs may compile with any of the roots.
    const isBusy = kind === "root" ? used.size > 0 : used.has(path);
    return kind !== "folder" && !isBusy && Date.now() - last >= age;
  });
  const removed: CachePart[] = [];
  for (const part of old) {
    signal?.throwIfAborted();
    await retireFolder(part.path);
    removed.push(part);
  }
  return removed;
}

function kernelsFolder(cache: string): string {
  return join(cache, "kernels");
}

async function describe(path: string, isRoot: boolean): Promise<Omit<CachePart, "size">> {
  const used = Math.max(...(await Promise.all([path, ...(await compilersOf(path))].map(usedAt))));
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (isRoot) {
    const record = await readRoot(path);
    return {
      kind: "root",
      path,
      name: record === undefined ? name : `${record.compiler.name} ${record.compiler.version}`,
      used,
    };
  }
  return { kind: "kernel", path, name: (await releaseOf(path)) ?? name, used };
}

/** Folders for compilers that are not the installed one of the kernel. */
async function compilersOf(path: string): Promise<string[]> {
  return (await namesIn(path)).filter((name) => name.startsWith("compiler-")).map((name) => join(path, name));
}

async function isKernelInUse(path: string): Promise<boolean> {
  for (const folder of [path, ...(await compilersOf(path))]) if (await isInUse(folder)) return true;
  return false;
}

/** The release of a prepared tree. */
async function releaseOf(path: string): Promise<string | undefined> {
  for (const folder of [path, ...(await compilersOf(path))]) {
    const text = await readFile(join(folder, "tree.json"), "utf8").catch(() => undefined);
    const release = /"release":"([^"]*)"/.exec(text ?? "")?.[1];
    if (release !== undefined) return release;
  }
  return undefined;
}

async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [] as string[])).filter((name) => !name.startsWith(".")).sort();
}

async function usedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}

/** Bytes on the disk of each; files may vanish meanwhile. */
async function sizesOf(paths: readonly string[], signal: AbortSignal | undefined): Promise<number[]> {
  if (paths.length === 0) return [];
  const { stdout } = await run("du", ["-s", "-k", "-l", "--", ...paths], { signal, allowFailure: true });
  signal?.throwIfAborted();
  const sizes = new Map([...stdout.matchAll(/^(\d+)\t(.*)$/gm)].map(([, size, path]) => [path, Number(size) * 1024]));
  return paths.map((path) => sizes.get(path) ?? 0);
}

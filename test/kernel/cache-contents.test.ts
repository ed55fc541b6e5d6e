import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cacheContents, pruneCache } from "../../src/kernel/roots/cache-contents.ts";

const day = 24 * 60 * 60 * 1000;
const longAgo = new Date(Date.now() - 40 * day);

let cache: string;
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), "kmend-contents-"));
  await file("roots/gcc-14_14.9.0-19-0123456789ab/root.json", '{"compiler":{"name":"gcc-14","version":"14.9.0-19"}}');
  await file("roots/gcc-14_14.9.0-19-0123456789ab/root/usr/bin/as", "x".repeat(300_000));
  await file("kernels/aa/tree.json", '{"format":2,"release":"6.1.0-9-amd64"}');
  await file("kernels/bb/compiler-0123456789ab/tree.json", '{"format":2,"release":"6.12.9+deb13-amd64"}');
  await file("kernels/bb/compiler-0123456789ab/tree/Makefile", "x".repeat(600_000));
  await file("modules/a.ko", "x".repeat(9000));
});
afterEach(() => rm(cache, { recursive: true, force: true }));

async function file(name: string, content: string): Promise<void> {
  const path = join(cache, name);
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, content);
}

async function makeOld(...names: readonly string[]): Promise<void> {
  for (const name of names) await utimes(join(cache, name), longAgo, longAgo);
}

test("build roots and kernels are listed with their names and sizes, then the rest", async () => {
  const contents = await cacheContents(cache);
  expect(contents.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
    "root gcc-14 14.9.0-19",
    "kernel 6.12.9+deb13-amd64",
    "kernel 6.1.0-9-amd64",
    "folder modules",
  ]);
  expect(contents[0]?.size).toBeGreaterThanOrEqual(300_000);
  expect(contents[1]?.size).toBeGreaterThanOrEqual(600_000);
  expect(contents[2]?.size).toBeLessThan(600_000);
  expect(await cacheContents(join(cache, "missing"))).toEqual([]);
});

test("what nobody used for a time is removed", async () => {
  await makeOld("roots/gcc-14_14.9.0-19-0123456789ab", "kernels/aa", "kernels/bb");
  const removed = await pruneCache(cache, 30 * day);
  // The folder of its compiler was used today.
  expect(removed.map(({ name }) => name)).toEqual(["gcc-14 14.9.0-19", "6.1.0-9-amd64"]);
  expect(await readdir(join(cache, "roots"))).toEqual([]);
  expect(await readdir(join(cache, "kernels"))).toEqual(["bb"]);
  expect(await readdir(join(cache, "modules"))).toEqual(["a.ko"]);
});

test("what a process uses stays, and so do the roots that it may compile with", async () => {
  await mkdir(join(cache, `kernels/bb/compiler-0123456789ab/.build.${process.pid}.01234567.tmp`));
  expect((await pruneCache(cache, 0)).map(({ name }) => name)).toEqual(["6.1.0-9-amd64"]);
  await rm(join(cache, `kernels/bb/compiler-0123456789ab/.build.${process.pid}.01234567.tmp`), { recursive: true });
  expect(await pruneCache(cache, 0)).toHaveLength(2);
});

test("a root that was interrupted is removed", async () => {
  await mkdir(join(cache, `roots/.gcc-14.${2 ** 22 + 5}.01234567.tmp`));
  await pruneCache(cache, 30 * day);
  expect(await readdir(join(cache, "roots"))).toEqual(["gcc-14_14.9.0-19-0123456789ab"]);
});

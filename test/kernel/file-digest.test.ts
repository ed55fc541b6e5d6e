import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { digestOfFile } from "../../src/kernel/image/file-digest.ts";
import { sha256 } from "../../src/support/cache.ts";

let folder: string;
let file: string;
let cache: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-digest-"));
  file = join(folder, "image");
  cache = join(folder, "cache");
  writeFileSync(file, "one");
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true });
});

/** As if the file had been left alone for a while. */
function later(): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 60_000 });
}

test("the digest is that of the content, and is remembered once the file has settled", async () => {
  expect(await digestOfFile(file, cache)).toBe(sha256("one"));
  expect(() => readdirSync(join(cache, "digests"))).toThrow("ENOENT");
  later();
  expect(await digestOfFile(file, cache)).toBe(sha256("one"));
  const [record = ""] = readdirSync(join(cache, "digests"));
  expect(readFileSync(join(cache, "digests", record), "latin1")).toBe(sha256("one"));
  writeFileSync(join(cache, "digests", record), "f".repeat(64));
  expect(await digestOfFile(file, cache), "from the record").toBe("f".repeat(64));
});

test("other content of the same size, with the old time set again, is seen", async () => {
  later();
  await digestOfFile(file, cache);
  const { atime, mtime } = statSync(file);
  writeFileSync(file, "two");
  utimesSync(file, atime, mtime);
  expect(await digestOfFile(file, cache)).toBe(sha256("two"));
});

test("a damaged record is made anew, and a cache that cannot be written does no harm", async () => {
  later();
  await digestOfFile(file, cache);
  const [record = ""] = readdirSync(join(cache, "digests"));
  writeFileSync(join(cache, "digests", record), "half");
  expect(await digestOfFile(file, cache)).toBe(sha256("one"));
  expect(await digestOfFile(file, join(file, "no-folder"))).toBe(sha256("one"));
});

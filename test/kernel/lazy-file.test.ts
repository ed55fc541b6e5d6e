import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LazyFile } from "../../src/kernel/image/lazy-file.ts";

let root: string;
const content = Buffer.from(Uint32Array.from({ length: 300_000 }, (_, index) => index * 2654435761).buffer);
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "kmend-lazy-"));
  await writeFile(join(root, "file"), content);
});
afterAll(() => rm(root, { recursive: true, force: true }));

test.each([
  [0, 10],
  [262_140, 8],
  [100, 1_000_000],
  [1_199_996, 4],
  [1_199_998, 100],
  [1_200_000, 1],
  [2_000_000, 5],
])("bytes %i + %i", async (offset, length) => {
  const file = await LazyFile.open(join(root, "file"));
  expect(file.size).toBe(content.length);
  expect(file.view(offset, length).equals(content.subarray(offset, offset + length))).toBe(true);
});

test("views of one file share their memory", async () => {
  const file = await LazyFile.open(join(root, "file"));
  expect(file.view(100, 4).buffer).toBe(file.frame.buffer);
  expect(LazyFile.of(content).view(8, 4)).toEqual(content.subarray(8, 12));
});

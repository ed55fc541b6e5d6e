import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { BuildShadows } from "../../src/build/pairs/build-shadows.ts";

let folder: string;
let tree: string;
let work: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-shadows-"));
  tree = join(folder, "tree");
  work = join(folder, "work");
  for (const name of ["a", "b"]) {
    mkdirSync(join(tree, name), { recursive: true });
    writeFileSync(join(tree, name, "x.c"), "old\n");
  }
  mkdirSync(work);
});
afterEach(() => rmSync(folder, { recursive: true }));

const isReal = (path: string): boolean => !lstatSync(path).isSymbolicLink();

test("each build has its files, and its units' folders can be written to", () => {
  const shadows = new BuildShadows(tree, work, {
    original: new Map(),
    patched: new Map([["a/x.c", Buffer.from("new\n")]]),
  });
  const patched = shadows.open("patched", ["a/x.o"]);
  const original = shadows.open("original", ["a/x.o"]);
  expect(readFileSync(join(patched, "a/x.c"), "utf8")).toBe("new\n");
  expect(readFileSync(join(original, "a/x.c"), "utf8")).toBe("old\n");
  expect(isReal(join(original, "a"))).toBe(true);
  writeFileSync(join(patched, "a/x.o"), "object");
  expect(shadows.open("patched", ["a/x.o"])).toBe(patched);
  expect(existsSync(join(patched, "a/x.o")), "the same folders: nothing is made anew").toBe(true);
});

test("other folders than were expected make it anew", () => {
  const shadows = new BuildShadows(tree, work, { original: new Map(), patched: new Map() });
  const first = shadows.open("patched", ["a/x.o"]);
  expect(isReal(join(first, "b"))).toBe(false);
  const second = shadows.open("patched", ["a/x.o", "b/x.o"]);
  expect(second).toBe(first);
  expect(isReal(join(second, "b"))).toBe(true);
  writeFileSync(join(second, "b/x.o"), "object");
  expect(existsSync(join(tree, "b/x.o"))).toBe(false);
});

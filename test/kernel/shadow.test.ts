import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createShadow, foldersOf } from "../../src/kernel/tree/shadow.ts";

let folder: string;
let tree: string;
let shadow: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-shadow-"));
  tree = join(folder, "tree");
  shadow = join(folder, "shadow");
  mkdirSync(join(tree, "a/b"), { recursive: true });
  mkdirSync(join(tree, "include"));
  writeFileSync(join(tree, "Makefile"), "top");
  writeFileSync(join(tree, "a/one.c"), "one");
  writeFileSync(join(tree, "a/one.o"), "object");
  writeFileSync(join(tree, "a/b/two.c"), "two");
  writeFileSync(join(tree, "a/b/two.h"), "header");
  writeFileSync(join(tree, "include/all.h"), "all");
});
afterEach(() => rmSync(folder, { recursive: true }));

const text = (path: string): string => readFileSync(join(shadow, path), "utf8");

test("everything of the tree is there, the changed file with its new content, and the tree is as before", () => {
  const { own } = createShadow(tree, shadow, new Map([["a/b/two.c", Buffer.from("changed")]]), []);
  expect(own).toEqual(new Set(["a/b/two.c"]));
  expect(["Makefile", "a/one.c", "a/b/two.c", "a/b/two.h", "include/all.h"].map(text)).toEqual([
    "top",
    "one",
    "changed",
    "header",
    "all",
  ]);
  expect(readFileSync(join(tree, "a/b/two.c"), "utf8")).toBe("two");
});

test("what is written beside a unit stays out of the tree, and no object of the tree is seen there", () => {
  createShadow(tree, shadow, new Map(), ["a"]);
  expect(readdirSync(join(shadow, "a"))).not.toContain("one.o");
  writeFileSync(join(shadow, "a/one.o"), "new");
  expect(readFileSync(join(tree, "a/one.o"), "utf8")).toBe("object");
});

test("a file that is gone is gone, and a folder that only the patch has is there", () => {
  const files = new Map([
    ["a/b/two.h", null],
    ["a/new/three.c", Buffer.from("three")],
  ]);
  createShadow(tree, shadow, files, []);
  expect(() => text("a/b/two.h")).toThrow("ENOENT");
  expect(text("a/new/three.c")).toBe("three");
});

test("links are short enough to need no block of their own", () => {
  createShadow(tree, shadow, new Map(), ["a/b"]);
  for (const name of ["two.c", "two.h"]) expect(readlinkSync(join(shadow, "a/b", name)).length).toBeLessThan(60);
});

test("an object whose path steps out of a folder needs that folder too", () => {
  expect(foldersOf("drivers/amdgpu/../display/dc.o")).toEqual(["drivers/display", "drivers/amdgpu"]);
});

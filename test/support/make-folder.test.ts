import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeFolder } from "../../src/support/make-folder.ts";
import { read, typeScriptFiles } from "../tidy/source-files.ts";

let top: string;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), "kmend-make-folder-"));
});
afterEach(() => rmSync(top, { recursive: true }));

test("makes what is missing, tells the first of it, and leaves what is there", async () => {
  expect(await makeFolder(join(top, "a/b/c"), 0o750)).toBe(join(top, "a"));
  for (const name of ["a", "a/b", "a/b/c"]) expect(statSync(join(top, name)).mode & 0o777).toBe(0o750);
  expect(await makeFolder(join(top, "a/b/c"))).toBeUndefined();
  expect(await makeFolder(join(top, "a/b/d"))).toBe(join(top, "a/b/d"));
});

test("several at once make the same folder", async () => {
  const all = await Promise.all(Array.from({ length: 20 }, () => makeFolder(join(top, "x/y/z"))));
  expect(all.filter((first) => first !== undefined).length).toBeGreaterThan(0);
  expect(statSync(join(top, "x/y/z")).isDirectory()).toBe(true);
});

test("a file of that name, above or itself, is an error", async () => {
  writeFileSync(join(top, "file"), "");
  await expect(makeFolder(join(top, "file"))).rejects.toMatchObject({ code: "EEXIST" });
  await expect(makeFolder(join(top, "file/below"))).rejects.toMatchObject({ code: "ENOTDIR" });
});

test("a file system that makes no folders is told of, and not asked for ever", async () => {
  await expect(makeFolder("/proc/kmend/below")).rejects.toMatchObject({ code: "NOT_WRITABLE", where: "/proc/kmend" });
});

test("folders are made here only: that of Node does not come back from /proc", () => {
  const others = typeScriptFiles("src").filter((path) => /\bmkdir\([^;]*recursive: true/.test(read(path)));
  expect(others).toEqual([]);
});

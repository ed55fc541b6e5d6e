import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readExtension } from "../../src/change/extension.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-extension-"));
  for (const name of ["tree/fs", "tree/.git", "original/fs"]) mkdirSync(join(folder, name), { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

const write = (path: string, text: string): void => writeFileSync(join(folder, path), text);
const read = (extension: string, earlier = new Map<string, Uint8Array>()) =>
  readExtension(join(folder, "tree"), extension, join(folder, "original"), earlier);

test("edited copies are compared with the original, and one without an original is a new file", async () => {
  write("original/fs/a.c", "/* Müller → */\nint a;\n");
  write("tree/fs/a.c", "the tree's own file does not count\n");
  write("tree/fs/a.c.fixed", "/* Müller → */\nint b;\n");
  write("tree/fs/new.c.fixed", "int c;\n");
  write("original/fs/same.c", "int d;\n");
  write("tree/fs/same.c.fixed", "int d;\n");
  write("tree/.git/fs.c.fixed", "no source\n");
  const { change, text, inputs } = await read(".fixed");
  expect(change.files.map(({ path, original }) => [path, original === null])).toEqual([
    ["fs/a.c", false],
    ["fs/new.c", true],
  ]);
  expect(text.toString("utf8")).toBe(
    [
      ...["--- a/fs/a.c", "+++ b/fs/a.c", "@@ -1,2 +1,2 @@", " /* Müller → */", "-int a;", "+int b;"],
      ...["--- /dev/null", "+++ b/fs/new.c", "@@ -0,0 +1 @@", "+int c;", ""],
    ].join("\n"),
  );
  expect(inputs).toHaveLength(3);
});

test("an earlier update is part of the original", async () => {
  write("original/fs/a.c", "int a;\n");
  write("tree/fs/a.c.fixed", "int c;\n");
  const { text } = await read(".fixed", new Map([["fs/a.c", Buffer.from("int b;\n")]]));
  expect(text.toString("utf8")).toContain("-int b;\n+int c;\n");
});

test("the end of a name is no pattern, and an end that no file has is an error", async () => {
  write("tree/fs/a.c.fixed", "int a;\n");
  await expect(read(".fix*")).rejects.toMatchObject({ code: "EXTENSION" });
  await expect(read(".fixe?")).rejects.toMatchObject({ code: "EXTENSION" });
  const message = expect.stringMatching(/ without "fixed" ends in a dot, /);
  await expect(read("fixed")).rejects.toMatchObject({ code: "EXTENSION", message });
});

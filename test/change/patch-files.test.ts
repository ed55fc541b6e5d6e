import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ChangeSet } from "../../src/change/change-set.ts";
import { applyPatches, readPatchFile } from "../../src/change/patch-files.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-change-"));
});
afterEach(() => rmSync(root, { recursive: true }));

function put(path: string, content: string): string {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, content);
  return full;
}

/** The files that a patch touches, as `old → new`. */
async function touched(content: string, strip?: number): Promise<string[]> {
  const patch = await readPatchFile(put("fix.patch", content), strip);
  return patch.files.map(({ old, new: fresh }) => `${old ?? "nothing"} → ${fresh ?? "nothing"}`);
}

/** Applies patches to the files of the tree that {@link put} made below `tree`. */
async function apply(...contents: string[]): Promise<ChangeSet> {
  mkdirSync(join(root, "tree"), { recursive: true });
  const work = join(root, "work");
  mkdirSync(work);
  const patches = await Promise.all(contents.map((text, at) => readPatchFile(put(`fix-${at}.patch`, text))));
  return applyPatches(patches, join(root, "tree"), work);
}

function shown({ files }: ChangeSet): string[] {
  return files.map(({ kind, path, patched }) => `${kind} ${path}: ${patched === null ? "-" : Buffer.from(patched)}`);
}

const numbers = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n";
const plain = `--- a/fs/numbers.c
+++ b/fs/numbers.c
@@ -1,4 +1,4 @@
 one
-two
+TWO
 three
 four
`;

test("a plain unified diff is applied to a copy, the tree stays as it is", async () => {
  const file = put("tree/fs/numbers.c", numbers);
  const change = await apply(plain);
  expect(shown(change)).toEqual([`modified fs/numbers.c: ${numbers.replace("two", "TWO")}`]);
  expect(Buffer.from(change.files[0]?.original ?? []).toString()).toBe(numbers);
  expect(change.notes).toEqual([]);
  expect(change.patches).toEqual([{ name: "fix-0.patch", sha256: expect.stringMatching(/^[0-9a-f]{64}$/) }]);
  expect(readFileSync(file, "utf8")).toBe(numbers);
});

test("a message of git format-patch before and its signature behind the diff are no part of it", async () => {
  put("tree/fs/numbers.c", numbers);
  const mail = `From 1234 Mon Sep 17 00:00:00 2001
From: Someone <someone@example.org>
Subject: [PATCH] numbers: shout

The old code was
--- quiet
+++ and this is no file name either
---
 fs/numbers.c | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)

diff --git a/fs/numbers.c b/fs/numbers.c
index 1234567..89abcde 100644
${plain}--${" "}
2.39.5

`;
  const change = await apply(mail);
  expect(shown(change)).toEqual([`modified fs/numbers.c: ${numbers.replace("two", "TWO")}`]);
});

test("a new file and a deleted one", async () => {
  put("tree/old.c", "gone\n");
  const change = await apply(`diff --git a/new.c b/new.c
new file mode 100644
--- /dev/null
+++ b/new.c
@@ -0,0 +1 @@
+hello
diff --git a/old.c b/old.c
deleted file mode 100644
--- a/old.c
+++ /dev/null
@@ -1 +0,0 @@
-gone
`);
  expect(shown(change)).toEqual(["added new.c: hello\n", "deleted old.c: -"]);
});

test("a file renamed by git is deleted and added, with its change", async () => {
  put("tree/before.c", numbers);
  const change = await apply(`diff --git a/before.c b/after.c
similarity index 90%
rename from before.c
rename to after.c
--- a/before.c
+++ b/after.c
@@ -1,3 +1,3 @@
 one
-two
+TWO
 three
`);
  expect(shown(change)).toEqual([`added after.c: ${numbers.replace("two", "TWO")}`, "deleted before.c: -"]);
});

test("a file renamed without a change is deleted and added too", async () => {
  put("tree/before.c", numbers);
  put("tree/fs/numbers.c", numbers);
  const change = await apply(`diff --git a/before.c b/after.c
similarity index 100%
rename from before.c
rename to after.c
diff --git a/fs/numbers.c b/fs/numbers.c
${plain}`);
  expect(shown(change)).toEqual([
    `added after.c: ${numbers}`,
    "deleted before.c: -",
    `modified fs/numbers.c: ${numbers.replace("two", "TWO")}`,
  ]);
});

test("no newline at the end of either file", async () => {
  put("tree/a.c", "one\ntwo");
  const change = await apply(`--- a/a.c
+++ b/a.c
@@ -1,2 +1,3 @@
 one
-two
\\ No newline at end of file
+two
+three
\\ No newline at end of file
`);
  expect(shown(change)).toEqual(["modified a.c: one\ntwo\nthree"]);
});

test("a patch with Windows line ends applies to a Unix file", async () => {
  put("tree/fs/numbers.c", numbers);
  const change = await apply(plain.replaceAll("\n", "\r\n"));
  expect(shown(change)).toEqual([`modified fs/numbers.c: ${numbers.replace("two", "TWO")}`]);
});

test("file names with times and with quotes", async () => {
  expect(await touched(plain.replace("a/fs/numbers.c", "a/fs/numbers.c\t2026-01-01 00:00:00.000 +0000"))).toEqual([
    "fs/numbers.c → fs/numbers.c",
  ]);
  const quoted = plain
    .replace("a/fs/numbers.c", '"a/fs/n\\303\\244mes.c"')
    .replace("b/fs/numbers.c", '"b/fs/n\\303\\244mes.c"');
  expect(await touched(quoted)).toEqual(["fs/nämes.c → fs/nämes.c"]);
});

test("the strip level tells how many folders to drop", async () => {
  expect(await touched(plain, 0)).toEqual(["a/fs/numbers.c → b/fs/numbers.c"]);
  expect(await touched(plain, 2)).toEqual(["numbers.c → numbers.c"]);
  await expect(touched(plain, 3)).rejects.toMatchObject({ code: "PATCH_PATH" });
});

test.each(["a/../../etc/passwd", "a/fs/../../../etc/passwd", "numbers.c"])(
  "%s is no file of the tree",
  async (name) => {
    await expect(touched(plain.replace("b/fs/numbers.c", name))).rejects.toMatchObject({
      code: "PATCH_PATH",
      hint: "file names in the patch must look like a/fs/file.c",
    });
  },
);

test("an absolute name is taken from its second folder on, as patch(1) does", async () => {
  expect(await touched(plain.replace("a/fs", "/src/fs").replace("b/fs", "/src/fs"), 2)).toEqual([
    "fs/numbers.c → fs/numbers.c",
  ]);
});

test.each([
  ["", "PATCH_EMPTY"],
  ["  \n\n", "PATCH_EMPTY"],
  ["just words\n", "PATCH_MALFORMED"],
  [plain.replace("@@ -1,4", "@@ -1,9"), "PATCH_MALFORMED"],
  ["GIT binary patch\nliteral 3\n", "PATCH_BINARY"],
  ["Binary files a/x and b/x differ\n", "PATCH_BINARY"],
  ["a\0b", "PATCH_BINARY"],
])("%j is refused", async (content, code) => {
  await expect(touched(content)).rejects.toMatchObject({ code });
});

test("a missing patch file is wrong usage", async () => {
  await expect(readPatchFile(join(root, "nowhere.patch"))).rejects.toMatchObject({
    code: "PATCH_MISSING",
    exitCode: 2,
  });
});

test("a hunk found at another line is noted with its offset", async () => {
  put("tree/fs/numbers.c", `minus\nzero\n${numbers}`);
  const change = await apply(`--- a/fs/numbers.c
+++ b/fs/numbers.c
@@ -3,5 +3,5 @@
 three
 four
-five
+FIVE
 six
 seven
`);
  expect(change.notes).toEqual(["fix-0.patch: hunk 1 of fs/numbers.c applied at line 5 (offset 2)"]);
});

test("an empty context line may have lost its blank on the way", async () => {
  put("tree/a.c", "one\n\nthree\n");
  const change = await apply("--- a/a.c\n+++ b/a.c\n@@ -1,3 +1,3 @@\n one\n\n-three\n+drei\n");
  expect(shown(change)).toEqual(["modified a.c: one\n\ndrei\n"]);
});

test("lines of a hunk that look like file names are lines", async () => {
  put("tree/a.c", "-- x\n++ y\nz\n");
  const change = await apply("--- a/a.c\n+++ b/a.c\n@@ -1,3 +1,3 @@\n--- x\n+-- b\n ++ y\n z\n");
  expect(shown(change)).toEqual(["modified a.c: -- b\n++ y\nz\n"]);
});

test("a hunk that fits only roughly is noted with its fuzz", async () => {
  put("tree/fs/numbers.c", numbers.replace("four", "other"));
  const change = await apply(plain);
  expect(change.notes).toEqual([
    "fix-0.patch: hunk 1 of fs/numbers.c applied with fuzz 1 at line 1; check that it is the right place",
  ]);
});

const second = `--- a/fs/numbers.c
+++ b/fs/numbers.c
@@ -1,4 +1,4 @@
 one
-two
+TWO
 three
 four
@@ -5,4 +5,4 @@
 five
 six
-SEVEN
+7
 eight
`;

test("a hunk that fits nowhere is named with its file and line", async () => {
  put("tree/fs/numbers.c", numbers);
  await expect(apply(second)).rejects.toMatchObject({
    code: "PATCH_DOES_NOT_APPLY",
    where: expect.stringMatching(/fix-0\.patch: fs\/numbers\.c: hunk 2 \(line 5\)$/),
    why: "no place fits fs/numbers.c: hunk 2 (line 5)",
  });
});

test("a file that is not there is named", async () => {
  await expect(apply(plain)).rejects.toMatchObject({
    code: "PATCH_DOES_NOT_APPLY",
    why: "this kernel's source has no fs/numbers.c",
  });
});

test("a patch that is in the source already is told apart", async () => {
  put("tree/fs/numbers.c", numbers.replace("two", "TWO"));
  await expect(apply(plain)).rejects.toMatchObject({ code: "PATCH_REVERSED" });
});

test("several patches build on each other, and a file that ends as it began is no change", async () => {
  put("tree/fs/numbers.c", numbers);
  const change = await apply(plain, plain.replace("-two", "-TWO").replace("+TWO", "+zwei"));
  expect(shown(change)).toEqual([`modified fs/numbers.c: ${numbers.replace("two", "zwei")}`]);
  rmSync(join(root, "work"), { recursive: true });
  const undone = await apply(plain, plain.replace("-two", "-TWO").replace("+TWO", "+two"));
  expect(undone.files).toEqual([]);
});

test("a new file whose name patch(1) reads otherwise is not lost", async () => {
  const added = (path: string): string => `--- /dev/null\n+++ b/${path}\n@@ -0,0 +1 @@\n+int x;\n`;
  await expect(apply(added("fs/a b.c"))).rejects.toMatchObject({ code: "PATCH_PATH" });
});

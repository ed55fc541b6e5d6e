import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ChangeSet } from "../../src/change/change-set.ts";
import { GitTree } from "../../src/change/git.ts";
import { applyPatches, readPatchFile } from "../../src/change/patch-files.ts";
import { readTreeState } from "../../src/kernel/sources/tree-state.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-special-"));
  put("tree/fs/a.c", "one\n");
});
afterEach(() => rmSync(root, { recursive: true }));

function put(path: string, content: string): string {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
  return join(root, path);
}

async function apply(text: string, name = "fix.patch"): Promise<ChangeSet> {
  const work = join(root, "work");
  mkdirSync(work, { recursive: true });
  return applyPatches([await readPatchFile(put(name, text))], join(root, "tree"), work);
}

const fix = "--- a/fs/a.c\n+++ b/fs/a.c\n@@ -1 +1 @@\n-one\n+ONE\n";
const added = (mode: string, path = "fs/new"): string =>
  `diff --git a/${path} b/${path}\nnew file mode ${mode}\nindex 0000000..1111111\n--- /dev/null\n+++ b/${path}\n@@ -0,0 +1 @@\n+../outside\n\\ No newline at end of file\n`;

test.each(["120000", "160000", "010644", "020666", "060660", "040755", "140755"])(
  "a patch that adds a file of mode %s is refused",
  async (mode) => {
    await expect(apply(added(mode))).rejects.toMatchObject({
      code: "PATCH_SPECIAL_FILE",
      where: expect.stringContaining("fs/new"),
    });
  },
);

test.each(["new file mode  120000", "new file mode 120000 x", "new file mode  "])(
  "a header that patch(1) may read otherwise is refused: %j",
  async (line) => {
    const text = added("100644").replace("new file mode 100644", line);
    await expect(apply(text)).rejects.toMatchObject({ code: "PATCH_SPECIAL_FILE" });
  },
);

test("what one patch makes of a folder, the next one does not follow", async () => {
  const work = join(root, "work");
  mkdirSync(join(root, "outside"));
  mkdirSync(work);
  // As if the first patch had come past the look at its text.
  symlinkSync(join(root, "outside"), join(work, "lnk"));
  const second = await readPatchFile(put("second.patch", added("100644", "lnk/sub/new.c")));
  await expect(applyPatches([second], join(root, "tree"), work)).rejects.toMatchObject({ code: "PATCH_SPECIAL_FILE" });
  expect(existsSync(join(root, "outside/sub"))).toBe(false);
});

test("a pipe in place of a patch file is refused at once, one that a shell opened is read", async () => {
  const pipe = join(root, "pipe.patch");
  execFileSync("mkfifo", [pipe]);
  await expect(readPatchFile(pipe)).rejects.toMatchObject({ code: "NOT_A_FILE", exitCode: 2 });
  await expect(readPatchFile("/dev/zero")).rejects.toMatchObject({ code: "NOT_A_FILE" });
  await expect(readPatchFile(root)).rejects.toMatchObject({ code: "PATCH_MISSING" });
});

test("a tree in which a tracked file has become a pipe or a link to a device has a state", async () => {
  const { tree } = hostileTree();
  const before = (await readTreeState(tree)).digest;
  rmSync(join(tree, "fs/a.c"));
  execFileSync("mkfifo", [join(tree, "fs/a.c")]);
  rmSync(join(tree, "fs/a.h"));
  symlinkSync("/dev/zero", join(tree, "fs/a.h"));
  expect((await readTreeState(tree)).digest).not.toBe(before);
});

test("a file that becomes a link, and a link that is changed, are refused", async () => {
  const becomes = `diff --git a/fs/a.c b/fs/a.c\nold mode 100644\nnew mode 120000\n${fix}`;
  const changed = `diff --git a/fs/a.c b/fs/a.c\nindex 1111111..2222222 120000\n${fix}`;
  for (const text of [becomes, changed])
    await expect(apply(text)).rejects.toMatchObject({ code: "PATCH_SPECIAL_FILE" });
});

test("what patch(1) would read besides is not given to it", async () => {
  const outside = join(root, "outside");
  const link = added("120000").replaceAll(/^/gm, " ");
  const ed = `--- fs/a.c\n+++ fs/a.c\n1c\nTWO\n.\n1!touch ${outside}\n`;
  const context = "*** /dev/null\n--- b/fs/made.c\n***************\n*** 0 ****\n--- 1 ----\n+ made\n";
  for (const text of [link, ed, context]) {
    const { files } = await apply(`${text}\n${fix}`);
    expect(files.map(({ kind, path }) => `${kind} ${path}`)).toEqual(["modified fs/a.c"]);
    rmSync(join(root, "work"), { recursive: true });
  }
  expect(existsSync(outside)).toBe(false);
});

test("a file behind a link of the tree is refused, and left alone", async () => {
  const real = put("elsewhere/a.c", "one\n");
  symlinkSync(join(root, "elsewhere"), join(root, "tree/linked"));
  symlinkSync(real, join(root, "tree/fs/link.c"));
  execFileSync("mkfifo", [join(root, "tree/fs/pipe.c")]);
  for (const path of ["linked/a.c", "fs/link.c", "fs/pipe.c"])
    await expect(apply(fix.replaceAll("fs/a.c", path))).rejects.toMatchObject({
      code: "PATCH_SPECIAL_FILE",
      where: path,
    });
  expect(readFileSync(real, "utf8")).toBe("one\n");
});

test("a header about a mode alone is passed over", async () => {
  for (const path of ["scripts/checkpatch.pl", "fs/a.c"]) {
    const mode = `diff --git a/${path} b/${path}\nold mode 100755\nnew mode 100644\n`;
    for (const text of [`${mode}diff --git a/fs/a.c b/fs/a.c\n${fix}`, `diff --git a/fs/a.c b/fs/a.c\n${fix}${mode}`]) {
      const { files } = await apply(text);
      expect(files.map(({ path: changed, patched }) => [changed, String(patched)])).toEqual([["fs/a.c", "ONE\n"]]);
      rmSync(join(root, "work"), { recursive: true });
    }
  }
});

test("bytes that are not UTF-8 reach the file as they are", async () => {
  writeFileSync(join(root, "tree/fs/a.c"), "one\n/* \xe4 */\n", "latin1");
  writeFileSync(
    join(root, "fix.patch"),
    "--- a/fs/a.c\n+++ b/fs/a.c\n@@ -1,2 +1,2 @@\n-one\n+\xfc\n /* \xe4 */\n",
    "latin1",
  );
  mkdirSync(join(root, "work"));
  const { files } = await applyPatches(
    [await readPatchFile(join(root, "fix.patch"))],
    join(root, "tree"),
    join(root, "work"),
  );
  expect(Buffer.from(files[0]?.patched ?? []).toString("latin1")).toBe("\xfc\n/* \xe4 */\n");
});

test.each([
  ["without a/", "fs/a.c", 0],
  ["without a/, from a copy", "fs/a.c.orig", 0],
  ["with two folders too many", "x/linux/fs/a.c", 2],
])("names %s get a hint at the strip level", async (_, name, level) => {
  await expect(
    apply(fix.replace("a/fs/a.c", name).replace("b/fs/a.c", name.replace(".orig", ""))),
  ).rejects.toMatchObject({
    code: "PATCH_DOES_NOT_APPLY",
    why: expect.stringContaining(`strip level ${level} (patch -p${level})`),
    hint: expect.stringContaining("git diff"),
  });
});

/** A git tree whose own configuration starts a program wherever git lets it. */
function hostileTree(): { tree: string; witness: string } {
  const tree = join(root, "tree");
  const witness = join(root, "witness");
  const script = put("evil.sh", `#!/bin/sh\necho "$0 $*" >>'${witness}'\ncat\n`);
  chmodSync(script, 0o755);
  const git = (...words: string[]): string =>
    execFileSync("git", ["-C", tree, "-c", "user.name=x", "-c", "user.email=x@x", ...words], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  git("init", "-q");
  for (const name of ["Makefile", "Kbuild"]) put(`tree/${name}`, "x\n");
  put("tree/.gitattributes", "*.c filter=bad diff=bad\n*.h filter=worse\nKbuild filter=\n");
  put("tree/fs/a.h", "h\n");
  git("add", "-A");
  git("commit", "-q", "-m", "first");
  put("tree/fs/a.c", "two\n");
  git("commit", "-q", "-a", "-m", "second");
  for (const [key, value] of [
    ["filter.bad.clean", script],
    ["filter.bad.smudge", script],
    ["filter.bad.required", "true"],
    ["filter.worse.process", script],
    // A name may be empty.
    ["filter..clean", script],
    ["diff.bad.textconv", script],
    ["diff.external", script],
    ["core.fsmonitor", script],
    ["core.hooksPath", join(root, "hooks")],
    ["core.pager", script],
    ["log.showSignature", "true"],
    ["gpg.program", script],
  ] as const)
    git("config", key, value);
  for (const hook of ["reference-transaction", "post-index-change", "post-checkout"]) {
    const path = put(`hooks/${hook}`, readFileSync(script, "utf8"));
    chmodSync(path, 0o755);
  }
  // Times that make git read the files again.
  for (const file of ["fs/a.c", "fs/a.h", "Kbuild"]) execFileSync("touch", ["-d", "2001-01-01", join(tree, file)]);
  return { tree, witness };
}

test("git runs nothing that a repository names", async () => {
  const { tree, witness } = hostileTree();
  const repository = await GitTree.open(tree);
  await repository.requireClean();
  const [before, after] = [await repository.requireCommit("HEAD^"), await repository.requireCommit("HEAD")];
  await repository.remember(before, "a test");
  const { change, text } = await repository.read(before, after);
  expect(change.files.map(({ path, patched }) => [path, String(patched)])).toEqual([["fs/a.c", "two\n"]]);
  expect(text.toString()).toContain("+two");
  expect(await repository.timeOf(after)).toBeGreaterThan(0);
  mkdirSync(join(root, "out"));
  await repository.writeTo(before, join(root, "out"), join(root, "out.tar"));
  expect(readFileSync(join(root, "out/fs/a.c"), "utf8")).toBe("one\n");
  expect((await readTreeState(tree)).files).toContain("fs/a.c");
  expect(existsSync(witness) ? readFileSync(witness, "utf8") : "").toBe("");
  // The same questions without that start them.
  execFileSync("git", ["-C", tree, "status"], { stdio: "ignore" });
  expect(existsSync(witness)).toBe(true);
});

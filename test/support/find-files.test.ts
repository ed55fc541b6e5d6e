import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { walk } from "../../src/support/find-files.ts";

let folder: string;
const path = process.env["PATH"];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-walk-"));
});
afterEach(() => {
  process.env["PATH"] = path;
  rmSync(folder, { recursive: true });
});

/** Puts a program in the place of the real one that ends as that does when something vanishes under it. */
function pretend(name: string, script: string): void {
  writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(folder, name), 0o755);
  process.env["PATH"] = `${folder}:${path}`;
}

test("what vanishes while find and grep look is as if it had never been", async () => {
  pretend("find", `echo a.h; echo "find: './.tmp_12/tmp': No such file or directory" >&2; exit 1`);
  pretend("grep", `echo a.h; echo "grep: ./.tmp_12/tmp: No such file or directory" >&2; exit 2`);
  expect((await walk("find", ["."])).stdout).toBe("a.h\n");
  expect((await walk("grep", ["-r", "x", "."], { fine: [0, 1] })).stdout).toBe("a.h\n");
});

test.each([
  ["find: './a': Permission denied", "1"],
  ["find: './a': No such file or directory\nfind: './b': Input/output error", "1"],
  ["find: '.': No such file or directory", "1"],
  ["", "1"],
])("every other failure is one: %s", async (said, code) => {
  pretend("find", `printf '%s\\n' "${said}" >&2; exit ${code}`);
  await expect(walk("find", ["."])).rejects.toMatchObject({ code: "PROGRAM_FAILED" });
});

test("a folder that is not there is a failure of the real programs", async () => {
  const gone = join(folder, "gone");
  await expect(walk("find", [gone])).rejects.toMatchObject({ code: "PROGRAM_FAILED" });
  await expect(walk("grep", ["-r", "x", gone], { fine: [0, 1] })).rejects.toMatchObject({ code: "PROGRAM_FAILED" });
});

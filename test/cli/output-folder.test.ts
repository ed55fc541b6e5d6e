import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { requireOutputFolder } from "../../src/support/output-folder.ts";
import { kmend } from "./captured.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-output-"));
afterAll(() => rmSync(folder, { recursive: true }));
const patch = join(folder, "fix.patch");
writeFileSync(patch, "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n");
/** A kernel that is nowhere: whoever gets as far as looking for it ends with another error. */
const words = ["--kernel", "0.0.0-nowhere", "--no-install"];

test.each([
  ["build", [patch]],
  ["package", ["--format", "tar", patch]],
])("%s finds a folder that nothing can be written to before the work", async (command, operands) => {
  // The file system of the kernel's objects lets nobody make files, root neither.
  const { exitCode, stderr } = await kmend(command, ...operands, ...words, "-o", "/sys");
  expect(stderr).toContain("error[NOT_WRITABLE]");
  expect(stderr).toContain("-o DIR");
  expect(exitCode).toBe(1);
});

test.each([
  ["build", [patch]],
  ["package", ["--format", "tar", patch]],
])("%s finds a folder that is not there before the work", async (command, operands) => {
  const { exitCode, stderr } = await kmend(command, ...operands, ...words, "-o", join(folder, "none"));
  expect(stderr).toContain("error[OUTPUT_MISSING]");
  expect(exitCode).toBe(2);
});

test("the trial leaves nothing behind", async () => {
  await requireOutputFolder(folder);
  expect(readdirSync(folder)).toEqual(["fix.patch"]);
});

import { execFileSync } from "node:child_process";
import { linkSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { kmend } from "../cli/captured.ts";
import { compileC } from "../fixtures/compile.ts";
import { patchFile } from "../host/patch-files.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-output-file-"));
afterAll(() => rmSync(folder, { recursive: true }));

const module = patchFile(folder, { name: "livepatch-a" });
const compareInto = (path: string) => kmend("report", "--compare", module, module, "-o", path);

test("a page does not take the place of something that is not a file", async () => {
  const [fifo, inner, link] = ["fifo", "inner", "link"].map((name) => join(folder, name)) as [string, string, string];
  execFileSync("mkfifo", [fifo]);
  mkdirSync(inner);
  symlinkSync(fifo, link);
  for (const path of [fifo, inner, link]) {
    const { exitCode, stderr } = await compareInto(path);
    expect(exitCode, stderr).toBe(2);
    expect(stderr).toContain("error[NOT_A_FILE]");
  }
  expect(lstatSync(fifo).isFIFO()).toBe(true);
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
});

test("a page goes where a link leads, and the link stays", async () => {
  const [page, link] = [join(folder, "page.html"), join(folder, "page-link.html")];
  writeFileSync(page, "old");
  symlinkSync(page, link);
  expect((await compareInto(link)).exitCode).toBe(0);
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  expect(readFileSync(page, "utf8")).toContain("<!doctype html>");
});

/** Two builds of a unit that differ, as files. */
function pair(): [string, string] {
  const paths = ["a", "b"].map((name) => join(folder, `${name}.o`)) as [string, string];
  const source = "int f(int a) { return a * STEP; }\nint g(int a) { return f(a) + 2; }\n";
  for (const [index, path] of paths.entries())
    writeFileSync(path, compileC(source, [`-DSTEP=${index + 3}`, "-pg", "-mfentry"]));
  return paths;
}

test("nor does what other commands write", async () => {
  const fifo = join(folder, "other-fifo");
  execFileSync("mkfifo", [fifo]);
  const patch = join(folder, "a.patch");
  writeFileSync(patch, "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n");
  const commands = [
    ["diff", ...pair(), "-o", fifo],
    ["adapt", patch, "-o", fifo],
    ["status", "--prometheus", fifo],
    ["build", patch, "--report", fifo],
    ["try", patch, "--report", fifo],
  ];
  for (const words of commands) {
    const { exitCode, stderr } = await kmend(...words);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("error[NOT_A_FILE]")]);
  }
  expect(lstatSync(fifo).isFIFO()).toBe(true);
});

test("no command writes over what it reads, by whatever name", async () => {
  const patch = join(folder, "b.patch");
  writeFileSync(patch, "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n");
  const [before, after] = pair();
  const link = join(folder, "hard.o");
  linkSync(before, link);
  const commands = [
    ["report", "--compare", module, module, "-o", module],
    ["report", patch, "-o", patch],
    ["adapt", patch, "-o", patch],
    ["diff", before, after, "-o", link],
    ["build", patch, "--report", patch],
  ];
  const contents = () => [module, patch, before].map((path) => readFileSync(path));
  const kept = contents();
  for (const words of commands) {
    const { exitCode, stderr } = await kmend(...words);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("error[OUTPUT_IS_INPUT]")]);
  }
  expect(contents()).toEqual(kept);
});

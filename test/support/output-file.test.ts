import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { kmend } from "../cli/captured.ts";
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

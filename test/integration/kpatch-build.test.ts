import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runKpatchBuild } from "../../src/cli/compat/kpatch-build.ts";
import { append, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: StockKernel;
beforeAll(async () => {
  stock = await stockKernel();
});
afterAll(() => scratch.remove());

const root = fileURLToPath(new URL("../..", import.meta.url));
const meminfo = join(root, "examples/meminfo-string.patch");

async function kpatchBuild(...words: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  let stdout = "";
  let stderr = "";
  const exitCode = await runKpatchBuild(words, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    signal: new AbortController().signal,
  });
  return { exitCode, stdout, stderr };
}

test("a patch becomes a module, told in kpatch-build's words", async () => {
  const output = scratch.folder();
  const { release } = stock.kernel;
  const { exitCode, stdout, stderr } = await kpatchBuild("-a", release, "-o", output, "-n", "fix-it", "-R", meminfo);
  expect(exitCode, stderr).toBe(0);
  expect(stdout.split("\n")).toEqual([
    "fs/proc/meminfo.o: changed function: meminfo_proc_show",
    "Patched objects: vmlinux",
    "Building patch module: fix-it.ko",
    "SUCCESS",
    "",
  ]);
  expect(readdirSync(output)).toEqual(["fix-it.ko"]);
  const note = execFileSync("modinfo", ["-F", "vermagic", join(output, "fix-it.ko")], { encoding: "utf8" });
  expect(note.split(" ")[0]).toBe(release);
});

test("a change of a comment is an error, as it was", async () => {
  const patch = scratch.patch(stock.tree.path, { "fs/proc/version.c": append("/* nothing */\n") });
  const { exitCode, stdout, stderr } = await kpatchBuild("-a", stock.kernel.release, "-o", scratch.folder(), patch);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(stderr).toContain("no functional changes found");
});

test("a refusal says why, and writes nothing", async () => {
  const patch = scratch.patch(stock.tree.path, {
    "fs/proc/version.c": append(
      'static int __init kmend_late(void) { pr_info("late\\n"); return 0; }\nlate_initcall(kmend_late);\n',
    ),
  });
  const output = scratch.folder();
  const { exitCode, stderr } = await kpatchBuild("-a", stock.kernel.release, "-o", output, patch);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/refused\[INITCALL\][\s\S]*hint:[\s\S]*error\(s\) encountered/);
  expect(readdirSync(output)).toEqual([]);
});

test.each([
  [["--frobnicate", meminfo], "unknown option"],
  [["--jobs", "0", meminfo], "whole number of at least 1"],
  [[], "missing required argument"],
])("wrong words %j", async (words, message) => {
  const { exitCode, stdout, stderr } = await kpatchBuild(...words);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(stderr).toContain(message);
});

test("a patch that is not there", async () => {
  const { exitCode, stderr } = await kpatchBuild("-a", stock.kernel.release, "-o", scratch.folder(), "no-such.patch");
  expect(exitCode).toBe(1);
  expect(stderr).toContain("no-such.patch");
});

test("the link in compat/ is the program of that name", () => {
  expect(existsSync(join(root, "dist/cli/main.cjs")), "npm run build comes before").toBe(true);
  const { status, stdout } = spawnSync(join(root, "compat/kpatch-build"), ["--version"], { encoding: "utf8" });
  expect(status).toBe(0);
  expect(stdout).toMatch(/^Version : \d+\.\d+\.\d+ \(kmend\)\n$/);
});

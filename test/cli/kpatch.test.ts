import { expect, test } from "vitest";
import { runKpatch } from "../../src/cli/compat/kpatch.ts";

async function kpatch(...words: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  let stdout = "";
  let stderr = "";
  const exitCode = await runKpatch(words, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    signal: new AbortController().signal,
  });
  return { exitCode, stdout, stderr };
}

test("usage is a failure, as that of the original, and names every command", async () => {
  for (const words of [[], ["help"], ["--help"]]) {
    const { exitCode, stdout } = await kpatch(...words);
    expect(exitCode).toBe(1);
    for (const command of ["install", "uninstall", "load", "unload", "info", "list", "signal", "version"]) {
      expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, "m"));
    }
  }
});

test.each([
  [["apply"], "there is no command apply"],
  [["load"], "load needs one module"],
  [["load", "a", "b"], "load needs one module"],
  [["load", "--force", "a"], "load has no option --force"],
  [["load", "-k", "6.1.0", "a"], "load has no option -k"],
  [["install", "-k"], "-k needs a kernel version"],
  [["signal", "a"], "signal takes no arguments"],
])("%j", async (words, message) => {
  const { exitCode, stderr } = await kpatch(...words);
  expect(exitCode).toBe(1);
  expect(stderr).toContain(message);
});

test("whatever goes wrong ends with 1", async () => {
  const { exitCode, stderr } = await kpatch("load", "/nowhere/patch.ko");
  expect(exitCode).toBe(1);
  expect(stderr).toContain("there is neither a file nor an installed patch module /nowhere/patch.ko");
});

test.each([
  ["-k", "5.10.0-0-none"],
  ["--kernel-version", "5.10.0-0-none"],
  ["--kernel-version=5.10.0-0-none"],
  ["-k5.10.0-0-none"],
])("the kernel is given by %s", async (...words) => {
  const { exitCode, stdout, stderr } = await kpatch("uninstall", ...words, "nothing");
  expect(exitCode).toBe(1);
  // Only root comes as far as to see that it is not there.
  expect(`${stdout}${stderr}`).toMatch(/nothing: not there|NOT_ROOT/);
});

test("list has the sections that scripts look for", async () => {
  const { exitCode, stdout } = await kpatch("list");
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^Loaded patch modules:\n[\s\S]*\nInstalled patch modules:\n/);
});

import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { commands } from "../../src/cli/command-table.ts";
import { kmend } from "./captured.ts";

test.each([[["--help"]], [["help"]], [["-h"]]])("%j prints the help and ends with 0", async (words) => {
  const { exitCode, stdout, stderr } = await kmend(...words);
  expect(exitCode).toBe(0);
  expect(stderr).toBe("");
  for (const { name, summary } of commands) {
    expect(stdout).toContain(name);
    expect(stdout).toContain(summary);
  }
  expect(stdout).toContain("130  interrupted");
});

describe.each(commands.map(({ name }) => name))("kmend %s --help", (name) => {
  test("shows its options, examples and exit codes", async () => {
    const { exitCode, stdout } = await kmend(name, "--help");
    expect(exitCode).toBe(0);
    for (const text of ["--json", "--quiet", "--verbose", "Examples:", "Exit codes:"]) expect(stdout).toContain(text);
  });
});

test("--version prints the version only", async () => {
  expect(await kmend("--version")).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
});

test.each([
  [[], "a command is missing"],
  [["bild"], "unknown command 'bild'", "Did you mean build?"],
  [["build"], "a patch is missing, or --cve or --all-cves", "kmend build --help"],
  [["diff"], "missing required argument 'ORIGINAL.o'", "kmend diff --help"],
  [["build", "a.patch", "--kernl", "x"], "unknown option '--kernl'", "Did you mean --kernel?"],
  [["build", "a.patch", "--kernel"], "option '--kernel <RELEASE>' argument missing"],
  [["build", "a.patch", "-j", "0"], "It has to be a whole number of at least 1"],
  [["build", "a.patch", "-j", "two"], "It has to be a whole number of at least 1"],
  [["build", "a.patch", "--kernel", ""], "option '--kernel <RELEASE>' argument '' is invalid. It is empty"],
  [["build", "a.patch", "--source="], "It is empty"],
  [["build", "a.patch", ""], "an operand is empty"],
  [["try", "a.ko", "--timeout", "1"], "It has to be a whole number of at least 10"],
  [["try", "a.ko", "b.patch"], "either patch modules or patches, but not both"],
  [["view", "--id", "a", "--file", "b.tar.gz"], "--id and --file exclude each other"],
  [["doctor", "now"], "too many arguments for 'doctor'"],
])("%j is wrong usage", async (words, message, hint = "--help") => {
  const { exitCode, stdout, stderr } = await kmend(...words);
  expect(exitCode).toBe(2);
  expect(stdout).toBe("");
  const lines = stderr.trimEnd().split("\n");
  expect(lines[0]).toContain("error[USAGE]: ");
  expect(lines[0]).toContain(message);
  expect(lines[1]).toContain("  hint: ");
  expect(lines[1]).toContain(hint);
  expect(lines).toHaveLength(2);
});

test.each([
  [["build", "a.patch", "--series", "6.12"], "--series needs --kernel newest"],
  [["build", "a.patch", "--kernel", "newest", "--series", "6.12.9"], "6.12.9 is no series of Linux"],
  [["build", "a.patch", "--archive", "a.sources", "--source", "."], "--archive does not go with --source"],
  [["build", "a.patch", "--distribution", "debian", "--source", "."], "--distribution does not go with --source"],
])("%j does not name a kernel", async (words, message) => {
  const { exitCode, stdout, stderr } = await kmend(...words);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toMatch(/^error\[USAGE\]: .*\n {2}why: .+\n$/);
  expect(stderr).toContain(message);
});

test("with --json an error is also an object on standard output", async () => {
  const { exitCode, stdout, stderr } = await kmend("try", "--json", "/nowhere/livepatch-x.ko");
  expect(exitCode).toBe(2);
  expect(JSON.parse(stdout)).toEqual({
    schema: 1,
    outcome: "failed",
    error: {
      code: "NOT_A_PATCH_MODULE",
      message: "/nowhere/livepatch-x.ko is not a patch module: there is no such file",
      where: null,
      why: null,
      hint: "kmend build makes one from a patch; kmend list shows the installed ones",
    },
  });
  expect(stderr).toMatch(/^error\[NOT_A_PATCH_MODULE\]: /);
});

test("a file that cannot be written is no reason to choose another cache", async () => {
  const { exitCode, stderr } = await kmend("status", "--prometheus", join(import.meta.filename, "kmend.prom"));
  expect(exitCode).toBe(1);
  expect(stderr).toContain("error[NOT_WRITABLE]");
  expect(stderr).not.toContain("KMEND_CACHE");
});

test("-vv adds the stack traces of an error and its cause", async () => {
  const { stderr } = await kmend("try", "-vv", "/nowhere/livepatch-x.ko");
  expect(stderr).toMatch(/\n {4}at /);
  expect(stderr).toContain("caused by: Error: ENOENT");
});

test("doctor lists every requirement, for people and for programs alike", async () => {
  const json = JSON.parse((await kmend("doctor", "--json")).stdout);
  expect(json).toMatchObject({ schema: 1, ready: expect.any(Boolean) });
  expect(json.requirements.map(({ name }: { name: string }) => name)).toContain("qemu-system-x86_64");
  const { stdout, exitCode } = await kmend("doctor");
  expect(exitCode).toBe(json.ready ? 0 : 5);
  for (const { name } of json.requirements) expect(stdout).toContain(name);
});

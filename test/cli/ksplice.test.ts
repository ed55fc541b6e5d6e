import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { runKspliceApply } from "../../src/cli/compat/ksplice-apply.ts";
import { runKspliceCreate } from "../../src/cli/compat/ksplice-create.ts";
import { runKspliceUndo } from "../../src/cli/compat/ksplice-undo.ts";
import { runKspliceView } from "../../src/cli/compat/ksplice-view.ts";
import { sampleUpdate } from "../update/sample-update.ts";

const programs = { create: runKspliceCreate, apply: runKspliceApply, undo: runKspliceUndo, view: runKspliceView };
type Program = keyof typeof programs;

let folder: string;
/** Looks like a kernel source tree, without anything that could be compiled. */
let tree: string;
const cache = process.env["KMEND_CACHE"];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-ksplice-"));
  tree = join(folder, "linux");
  for (const name of ["scripts", "kernel"]) mkdirSync(join(tree, name), { recursive: true });
  writeFileSync(join(tree, "Makefile"), "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 9\n");
  writeFileSync(join(tree, "Kbuild"), "");
  process.env["KMEND_CACHE"] = join(folder, "cache");
});
afterAll(() => {
  if (cache === undefined) delete process.env["KMEND_CACHE"];
  else process.env["KMEND_CACHE"] = cache;
  rmSync(folder, { recursive: true });
});
afterEach(() => {
  delete process.env["CONCURRENCY_LEVEL"];
});

async function ksplice(
  program: Program,
  ...words: string[]
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  let stdout = "";
  let stderr = "";
  const exitCode = await programs[program](words, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    signal: new AbortController().signal,
  });
  return { exitCode, stdout, stderr };
}

describe.each(Object.keys(programs) as Program[])("ksplice-%s", (program) => {
  test.each(["--help", "-?"])("%s shows the options and ends with 1", async (word) => {
    const { exitCode, stderr } = await ksplice(program, word);
    expect(exitCode).toBe(1);
    for (const text of ["Usage: ", "--raw-errors", "--verbose", "--version"]) expect(stderr).toContain(text);
  });

  test("tells its version, and that of the interface", async () => {
    expect(await ksplice(program, "--version")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^Ksplice version \d+\.\d+\.\d+ \(kmend\)\n$/),
    });
    expect(await ksplice(program, "--api-version")).toMatchObject({ exitCode: 0, stdout: "2\n" });
  });

  test("an option that it does not have is wrong usage", async () => {
    const { exitCode, stderr } = await ksplice(program, "--unheard-of");
    expect(exitCode).toBe(1);
    expect(stderr).toContain("unknown option");
  });
});

describe("wrong usage ends with 1", () => {
  test.each<[Program, readonly string[], string]>([
    ["create", ["--patch=x.patch"], "KERNEL_SOURCE is missing"],
    ["create", ["TREE"], "exactly one of --patch, --diffext, --git and --prebuild"],
    ["create", ["--patch=x.patch", "--diffext=.new", "TREE"], "exactly one of"],
    ["create", ["--prebuild", "--git=HEAD", "TREE"], "exactly one of"],
    ["create", ["--patch", "TREE"], "KERNEL_SOURCE is missing"],
    ["create", ["--patch=x.patch", "TREE", "TREE"], "too many arguments"],
    ["create", ["--patch=x.patch", "-j", "0", "TREE"], "at least 1"],
    ["create", ["--patch=x.patch", "--jobs=many", "TREE"], "at least 1"],
    ["create", ["--patch=x.patch", "--id=a/b", "TREE"], '"a/b" cannot be the identifier'],
    ["create", ["--patch=x.patch", "--id=", "TREE"], "It is empty"],
    ["create", ["--prebuild", "--config=", "TREE"], "It is empty"],
    ["create", ["--git=", "TREE"], "It is empty"],
    ["create", ["--prebuild", ""], "an operand is empty"],
    ["view", ["--id="], "It is empty"],
    ["create", ["--patch=x.patch", "--id=-x", "TREE"], '"-x" cannot be the identifier'],
    ["create", ["--patch=x.patch", `--id=${"x".repeat(48)}`, "TREE"], "cannot be the identifier"],
    ["create", ["--patch=x.patch", "--patch-opt=--output=/etc/passwd", "TREE"], "cannot be given to patch"],
    ["create", ["--patch=x.patch", "--patch-opt=-p", "TREE"], "cannot be given to patch"],
    ["create", ["--diffext=", "TREE"], "cannot be the end of a file's name"],
    ["create", ["--diffext=/x", "TREE"], "cannot be the end of a file's name"],
    ["apply", [], "an update is missing"],
    ["apply", ["a.tar.gz", "b.tar.gz"], "too many arguments"],
    ["apply", ["--debugfile"], "argument missing"],
    ["apply", ["--timeout=0", "a.tar.gz"], "at least 1"],
    ["undo", [], "an identifier is missing"],
    ["undo", ["a", "b"], "too many arguments"],
    ["undo", ["a", "--debugfile"], "argument missing"],
    ["view", ["--id=a", "--file=b.tar.gz"], "exclude each other"],
    ["view", ["a.tar.gz"], "too many arguments"],
  ])("ksplice-%s %j", async (program, words, message) => {
    const { exitCode, stdout, stderr } = await ksplice(
      program,
      ...words.map((word) => (word === "TREE" ? tree : word)),
    );
    expect(stderr).toContain(message);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  });

  test("and so does a CONCURRENCY_LEVEL that is no number of jobs", async () => {
    process.env["CONCURRENCY_LEVEL"] = "all";
    const { exitCode, stderr } = await ksplice("create", "--patch=x.patch", tree);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('CONCURRENCY_LEVEL is "all"');
  });
});

describe("every other failure ends with 255", () => {
  test.each<[Program, readonly string[], string]>([
    ["create", ["--patch=x.patch", "/nowhere"], "SOURCE_NOT_KERNEL"],
    ["create", ["--patch=x.patch", "TREE"], "ORIG_CONFIG"],
    ["create", ["--prebuild", "--config=/nowhere", "TREE"], "ORIG_CONFIG"],
    ["create", ["--prebuild", "--config=TREE/kernel", "TREE"], "is the source tree or a folder in it"],
    ["create", ["--git=HEAD", "TREE"], "NOT_A_GIT_TREE"],
    ["apply", ["/nowhere.tar.gz"], "UPDATE_MISSING"],
    ["apply", ["/proc"], "it has no manifest.json"],
    ["view", ["--file=/nowhere.tar.gz"], "UPDATE_MISSING"],
  ])("ksplice-%s %j", async (program, words, code) => {
    const { exitCode, stdout, stderr } = await ksplice(program, ...words.map((word) => word.replace("TREE", tree)));
    expect(stderr).toContain(code);
    expect({ exitCode, stdout }).toEqual({ exitCode: 255, stdout: "" });
    expect(stderr).not.toContain("Usage:");
    const raw = await ksplice(program, "--raw-errors", ...words.map((word) => word.replace("TREE", tree)));
    expect(raw.exitCode).toBe(255);
    expect(raw.stderr).toMatch(/^OTHER\n[^\n]+\n$/);
  });

  test("--prebuild --series forgets for a working tree with changes, unless updates are made from its commits", async () => {
    const path = join(folder, "working");
    cpSync(tree, path, { recursive: true });
    const who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgSign=false"];
    const git = (...words: string[]): unknown => execFileSync("git", ["-C", path, ...who, ...words]);
    git("init", "--quiet");
    git("add", "--all");
    git("commit", "--quiet", "-m", "original");
    writeFileSync(join(path, "Kbuild"), "# changed\n");
    const forget = (): ReturnType<typeof ksplice> => ksplice("create", "--prebuild", "--series", path);
    expect(await forget()).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("is the original") });
    git("update-ref", "refs/ksplice/pre", "HEAD");
    const { exitCode, stderr } = await forget();
    expect(exitCode).toBe(255);
    expect(stderr).toMatch(/DIRTY_TREE[\s\S]*why: Kbuild\n/);
    git("commit", "--quiet", "-a", "-m", "next");
    expect((await forget()).exitCode).toBe(0);
    const [pre, head] = ["refs/ksplice/pre", "HEAD"].map((name) => String(git("rev-parse", name)));
    expect(pre).toBe(head);
  });

  test("ORIG_CONFIG may not be a part of the tree, but for its default", async () => {
    const orig = join(tree, "ksplice");
    mkdirSync(orig);
    const given = await ksplice("create", "--prebuild", `--config=${orig}`, tree);
    expect(given.stderr).toContain(`there is no .config in ${orig}`);
    writeFileSync(join(orig, ".config"), "");
    expect((await ksplice("create", "--prebuild", tree)).stderr).toContain(`there is no System.map in ${orig}`);
    writeFileSync(join(orig, "System.map"), "");
    mkdirSync(join(orig, "vmlinuz"));
    const unreadable = await ksplice("create", "--prebuild", tree);
    expect(unreadable.exitCode).toBe(255);
    expect(unreadable.stderr).toMatch(/ORIG_CONFIG\]: \S+\/vmlinuz cannot be read: EISDIR/);
    rmSync(join(orig, "vmlinuz"), { recursive: true });
    for (const inside of [tree, join(tree, "kernel"), join(orig, "..", "scripts")]) {
      const { exitCode, stderr } = await ksplice("create", "--prebuild", `--config=${inside}`, tree);
      expect(exitCode).toBe(255);
      expect(stderr).toContain("is the source tree or a folder in it");
    }
  });
});

test("ksplice-view --file shows everything in an update, and nothing that a terminal would obey", async () => {
  const { path } = await sampleUpdate(folder, {
    id: "seen",
    description: "clears \u001b[2J the screen",
    functions: ["fuse:bar"],
  });
  const { exitCode, stdout, stderr } = await ksplice("view", `--file=${path}`);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  expect(stdout).toContain("Update seen: clears ?[2J the screen\n");
  expect(stdout).toContain("changed function bar of fuse (x.c): proven; code differs\n");
  expect(stdout).toContain("--- a/x.c\n+++ b/x.c\n");
});

import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { findProgram, isStaticProgram } from "../../src/support/find-program.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { type Requirement, requirements } from "../../src/support/requirement-table.ts";
import {
  checkRequirements,
  ensureRequirements,
  installCommand,
  neededOf,
  packagesFor,
} from "../../src/support/requirements.ts";

let folder: string;
let lists: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-requirements-"));
  lists = join(folder, "lists");
  mkdirSync(lists);
  vi.stubEnv("PATH", join(folder));
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

/** A program of shell builtins that notes its arguments in calls.log. */
function program(name: string, body: string): void {
  writeFileSync(join(folder, name), `#!/bin/sh\necho "${name} $*" >>${folder}/calls.log\n${body}\n`);
  chmodSync(join(folder, name), 0o755);
}

function calls(): string[] {
  const log = join(folder, "calls.log");
  return existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [];
}

/** Lets this process pass for another user; 0 is root. */
function runAs(user: number): void {
  vi.spyOn(process as { geteuid(): number }, "geteuid").mockReturnValue(user);
}

function thing(name: string, ...apt: [string, ...string[]]): Requirement {
  const evidence = { kind: "file", paths: [join(folder, "nowhere", name), join(folder, name)] } as const;
  return { name, needs: ["build"], why: `is needed for ${name}`, evidence, packages: { apt } };
}

function ensure(table: readonly Requirement[], install: boolean): Promise<void> {
  const progress = new SilentProgress();
  return ensureRequirements({ needs: ["build"], install, progress, table, packageLists: lists });
}

test("every row says why it is needed and which package provides it, and no name stands twice", () => {
  for (const { why, packages, needs } of requirements) {
    expect(why.length).toBeGreaterThan(10);
    expect(packages.apt[0]).toMatch(/^[a-z0-9][a-z0-9+.-]+$/);
    expect(needs.length).toBeGreaterThan(0);
  }
  expect(new Set(requirements.map(({ name }) => name)).size).toBe(requirements.length);
});

test("what building needs, testing needs too", () => {
  for (const { needs } of requirements) expect(needs).toContain("test");
});

test("only what was asked for is looked at", async () => {
  const names = (await checkRequirements(["try"])).map(({ requirement }) => requirement.name);
  expect(names).toContain("qemu-system-x86_64");
  expect(names).not.toContain("bison");
});

test("a program counts only when it can be run, a static one only when it is static", async () => {
  writeFileSync(join(folder, "kmend-tool"), "text");
  expect(await findProgram("kmend-tool")).toBeUndefined();
  program("kmend-tool", "");
  expect(await findProgram("kmend-tool")).toBe(join(folder, "kmend-tool"));
  expect(await findProgram("kmend-tool", isStaticProgram)).toBeUndefined();
});

test("a dynamically linked program is not static", async () => {
  expect(await isStaticProgram(process.execPath)).toBe(false);
});

test("nothing is missing: nothing is run", async () => {
  writeFileSync(join(folder, "a"), "");
  program("apt-get", "");
  await ensure([thing("a", "a")], true);
  expect(calls()).toEqual([]);
});

test("--no-install: exit 5 with the command", async () => {
  program("apt-get", "");
  runAs(0);
  await expect(ensure([thing("b", "b-package"), thing("a", "a-package")], false)).rejects.toMatchObject({
    code: "REQUIREMENTS_MISSING",
    exitCode: 5,
    message: "not installed: b, a",
    hint: "apt-get install -y --no-install-recommends a-package b-package",
  });
  expect(calls()).toEqual([]);
});

test("without root: exit 5 with a sudo command", async () => {
  program("apt-get", "");
  runAs(1000);
  await expect(ensure([thing("a", "a-package")], true)).rejects.toMatchObject({
    exitCode: 5,
    hint: "sudo apt-get install -y --no-install-recommends a-package",
  });
});

test("without apt-get: exit 5 and no command", async () => {
  await expect(ensure([thing("a", "a-package")], true)).rejects.toMatchObject({
    exitCode: 5,
    hint: expect.stringContaining("package manager of this system"),
  });
});

test("as root what is missing is installed; package lists are fetched first when there are none", async () => {
  runAs(0);
  program("apt-get", `[ $1 = install ] && : >${folder}/a; exit 0`);
  await ensure([thing("a", "a-package")], true);
  expect(calls()).toEqual(["apt-get update -q", "apt-get install -y -q --no-install-recommends a-package"]);
});

test("an install that fails with old lists is repeated with fresh ones", async () => {
  runAs(0);
  writeFileSync(join(lists, "archive_dists_stable_main_binary-amd64_Packages"), "");
  program(
    "apt-get",
    `[ $1 = update ] && : >${folder}/fresh; [ $1 = update ] || { [ -e ${folder}/fresh ] && : >${folder}/a; }`,
  );
  await ensure([thing("a", "a-package")], true);
  expect(calls().map((line) => line.split(" ")[1])).toEqual(["install", "update", "install"]);
});

test("an install that changes nothing is an error, not a loop", async () => {
  runAs(0);
  program("apt-get", "exit 0");
  await expect(ensure([thing("a", "a-package")], true)).rejects.toMatchObject({ code: "REQUIREMENTS_MISSING" });
});

test("with a choice of packages, the one that the archive has", async () => {
  program("apt-cache", "for last; do :; done; [ $last = dwarves ]");
  expect(await packagesFor([thing("p", "pahole", "dwarves"), thing("x", "xz")], "apt")).toEqual(["dwarves", "xz"]);
  expect(installCommand(["x", "y"])).toBe("apt-get install -y --no-install-recommends x y");
});

test("what is needed where the archive has it is installed there, and not missed elsewhere", async () => {
  runAs(0);
  writeFileSync(join(lists, "archive_dists_stable_main_binary-amd64_Packages"), "");
  program("apt-cache", "for last; do :; done; [ $last = older-compiler ]");
  program("apt-get", `[ $1 = install ] && : >${folder}/a; exit 0`);
  const offered: Requirement = { ...thing("a", "older-compiler"), whereOffered: true };
  const elsewhere: Requirement = { ...thing("b", "ancient-compiler"), whereOffered: true };
  await ensure([offered, elsewhere], true);
  expect(calls().filter((line) => line.startsWith("apt-get"))).toEqual([
    "apt-get install -y -q --no-install-recommends older-compiler",
  ]);
  expect(await neededOf([elsewhere], "apt", lists)).toEqual([]);
  await ensure([elsewhere], false);
});

test("as long as nobody knows what the archive has, it is missed, and the lists are fetched before it is decided", async () => {
  const elsewhere: Requirement = { ...thing("b", "ancient-compiler"), whereOffered: true };
  program("apt-cache", "exit 100");
  program("apt-get", `[ $1 = update ] && : >${lists}/archive_dists_stable_main_binary-amd64_Packages; exit 0`);
  expect(await neededOf([elsewhere], "apt", lists)).toEqual([elsewhere]);
  runAs(0);
  await ensure([elsewhere], true);
  expect(calls().filter((line) => line.startsWith("apt-get"))).toEqual(["apt-get update -q"]);
});

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type CompilerCache, findCompilerCache } from "../../src/kernel/tree/ccache.ts";
import { compileUnit } from "../../src/kernel/tree/compile.ts";

let root: string;
const before = { path: process.env["PATH"], disabled: process.env["CCACHE_DISABLE"] };

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-ccache-"));
  for (const folder of ["bin", "tree", "build", "other"]) mkdirSync(join(root, folder));
  writeFileSync(join(root, "tree.json"), "{}");
  process.env["PATH"] = `${join(root, "bin")}:${before.path}`;
  delete process.env["CCACHE_DISABLE"];
});
afterEach(() => {
  process.env["PATH"] = before.path;
  if (before.disabled !== undefined) process.env["CCACHE_DISABLE"] = before.disabled;
  rmSync(root, { recursive: true });
});

function ccacheIs(script: string): void {
  writeFileSync(join(root, "bin/ccache"), `#!/bin/sh\n${script}\n`);
  chmodSync(join(root, "bin/ccache"), 0o755);
}

async function found(added: readonly string[] = [], folder = "build"): Promise<CompilerCache> {
  const cache = await findCompilerCache(join(root, "tree"), added, join(root, folder));
  if (cache === undefined) throw new Error("ccache was not found");
  return cache;
}

const unit = {
  source: "a.c",
  object: "a.o",
  command: "cp a.c a.o ; [ -f a.o ] && echo objtool >>a.o",
  module: undefined,
};

async function compiled(compilerCache: CompilerCache | undefined): Promise<string> {
  writeFileSync(join(root, "build/a.c"), "text\n");
  await compileUnit(unit, join(root, "build"), { logFile: join(root, "log"), compilerCache });
  return readFileSync(join(root, "build/a.o"), "utf8");
}

test("the compiler is run through ccache, what comes after it is not", async () => {
  ccacheIs(`echo "$@" >${join(root, "said")}; env >${join(root, "env")}; "$@"`);
  expect(await compiled(await found())).toBe("text\nobjtool\n");
  expect(readFileSync(join(root, "said"), "utf8")).toBe("cp a.c a.o\n");
  const environment = readFileSync(join(root, "env"), "utf8").split("\n");
  expect(environment).toEqual(expect.arrayContaining(["CCACHE_DEPEND=1", "CCACHE_NOHARDLINK=1", "CCACHE_SLOPPINESS="]));
});

test("a ccache that cannot work does not fail the build", async () => {
  ccacheIs("echo 'ccache: error: cannot write' >&2; exit 1");
  expect(await compiled(await found())).toBe("text\nobjtool\n");
});

test("what does not compile fails with and without it", async () => {
  ccacheIs('"$@"');
  const wrong = { ...unit, command: "cp missing.c a.o" };
  const compilerCache = await found();
  const failed = compileUnit(wrong, join(root, "build"), { logFile: join(root, "log"), compilerCache });
  await expect(failed).rejects.toMatchObject({ code: "COMPILE_FAILED" });
});

test("which files there are is part of the key", async () => {
  ccacheIs('"$@"');
  const keyOf = async (added: readonly string[], folder: string): Promise<string> =>
    readFileSync((await found(added, folder)).environment["CCACHE_EXTRAFILES"] as string, "utf8");
  const plain = await keyOf([], "build");
  expect(await keyOf([], "other")).toBe(plain);
  const header = await keyOf(["include/linux/new.h"], "build");
  expect(header).not.toBe(plain);
  rmSync(join(root, "tree.json"));
  writeFileSync(join(root, "tree.json"), "{}");
  expect(await keyOf([], "build"), "a tree that was made anew").not.toBe(plain);
});

test("a user can switch it off", async () => {
  ccacheIs('"$@"');
  process.env["CCACHE_DISABLE"] = "1";
  expect(await findCompilerCache(join(root, "tree"), [], join(root, "build"))).toBeUndefined();
});

import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { BuildContext } from "../../src/build/build-context.ts";
import { sourcesWith } from "../../src/build/pairs/unpatched-units.ts";
import { entriesBelow, entriesBelowIfAny, walk } from "../../src/support/find-files.ts";

/** Removes a folder of this name at the moment in which it is looked into, as another process may. */
vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  const readdir = async (path: string, options: never): Promise<unknown> => {
    if (path.endsWith("/vanishes")) rmSync(path, { recursive: true });
    return real.readdir(path, options);
  };
  return { ...real, default: real, readdir };
});

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

const namesBelow = async (follow: boolean): Promise<string[]> =>
  (await entriesBelow(folder, { follow })).map(({ parentPath, name }) =>
    join(parentPath, name).slice(folder.length + 1),
  );

test("a folder that vanishes while its siblings are listed is as if it had never been", async () => {
  for (const name of ["a/deep", "vanishes/deep", "z"]) mkdirSync(join(folder, name), { recursive: true });
  for (const name of ["a/deep/one", "z/two"]) writeFileSync(join(folder, name), "");
  symlinkSync("a", join(folder, "link"));
  const found = await namesBelow(false);
  expect(found.filter((name) => !name.startsWith("vanishes")).sort()).toEqual([
    ...["a", "a/deep", "a/deep/one", "link", "z", "z/two"],
  ]);
  expect(await namesBelow(true)).toContain("link/deep/one");
});

test("a folder that is not there at all is an error, or empty where it need not be", async () => {
  await expect(entriesBelow(join(folder, "gone"))).rejects.toThrow("ENOENT");
  expect(await entriesBelowIfAny(join(folder, "gone"))).toEqual([]);
});

test("the search for units that may define or use a symbol fails when grep does, and finds nothing where nothing is", async () => {
  const context = { tree: { path: folder }, signal: undefined } as unknown as BuildContext;
  mkdirSync(join(folder, "kernel"));
  writeFileSync(join(folder, "kernel/a.c"), "int state;\n");
  expect(await sourcesWith("state", context)).toEqual(["kernel/a.c"]);
  expect(await sourcesWith("nowhere", context)).toEqual([]);
  pretend("grep", 'echo "grep: kernel/b.c: Input/output error" >&2; echo kernel/a.c; exit 2');
  await expect(sourcesWith("state", context)).rejects.toMatchObject({ code: "PROGRAM_FAILED" });
  pretend("grep", 'echo "grep: kernel/.tmp_1/x.c: No such file or directory" >&2; echo kernel/a.c; exit 2');
  expect(await sourcesWith("state", context)).toEqual(["kernel/a.c"]);
});

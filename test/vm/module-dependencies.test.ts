import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readModinfo } from "../../src/patch-module/modinfo.ts";
import { indexModules, modulesByName, resolveInTurn, resolveModules } from "../../src/vm/module-dependencies.ts";

let root: string;
let out: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-modules-"));
  out = join(root, "out");
  mkdirSync(join(root, "lib", "kernel", "fs"), { recursive: true });
  mkdirSync(out);
});
afterEach(() => rmSync(root, { recursive: true }));

/** Compiles an object that has nothing but a .modinfo section, as `kernel/fs/<name>.ko`. */
function module(name: string, info: Readonly<Record<string, string>>, compress?: readonly [string, ...string[]]): void {
  const entries = Object.entries(info).map(([key, value]) => `.asciz "${key}=${value}"`);
  const path = join(root, "lib", "kernel", "fs", `${name}.ko`);
  const source = `.section .modinfo,"a"\n${entries.join("\n")}\n`;
  execFileSync("as", ["-o", path, "-"], { input: source });
  if (compress !== undefined) execFileSync(compress[0], [...compress.slice(1), path]);
}

async function load(...wanted: string[]): Promise<string[]> {
  const files = await resolveModules(await indexModules(join(root, "lib")), wanted, out);
  return files.map((file) => basename(file));
}

test("dependencies come first, each once, at any depth", async () => {
  module("top", { depends: "middle,other-one", name: "top" });
  module("middle", { depends: "bottom" });
  module("other-one", { depends: "bottom" });
  module("bottom", { depends: "" });
  expect(await load("top", "middle")).toEqual(["bottom.ko", "middle.ko", "other-one.ko", "top.ko"]);
});

test("a name may be written with - or _", async () => {
  module("crc-t10dif", { depends: "" });
  expect(await load("crc_t10dif")).toEqual(["crc-t10dif.ko"]);
  expect(await load("crc-t10dif")).toEqual(["crc-t10dif.ko"]);
});

test("compressed modules are unpacked, and are the same afterwards", async () => {
  module("packed-xz", { depends: "packed_zst" }, ["xz"]);
  module("packed_zst", { depends: "packed_gz" }, ["zstd", "--rm", "-q"]);
  module("packed_gz", { depends: "" }, ["gzip"]);
  expect(await load("packed_xz")).toEqual(["packed_gz.ko", "packed_zst.ko", "packed-xz.ko"]);
});

test("lists in turn: a later one has only what the earlier ones did not bring, and nothing is unpacked twice", async () => {
  module("needed", { depends: "shared" }, ["zstd", "--rm", "-q"]);
  module("patched", { depends: "shared,needed" }, ["xz"]);
  module("shared", { depends: "" }, ["zstd", "--rm", "-q"]);
  const lists = await resolveInTurn(await indexModules(join(root, "lib")), [["needed"], ["patched", "shared"]], out);
  expect(lists.map((files) => files.map((file) => basename(file)))).toEqual([
    ["shared.ko", "needed.ko"],
    ["patched.ko"],
  ]);
});

test("soft dependencies come first when there is a file for them", async () => {
  module("disk", { depends: "lib", softdep: "pre: crc32c nowhere post: later" });
  module("lib", { depends: "" });
  module("crc32c_generic", { depends: "" });
  module("later", { depends: "" });
  expect(await load("disk")).toEqual(["crc32c_generic.ko", "lib.ko", "disk.ko"]);
});

test("modules of the kernel image are not loaded", async () => {
  module("top", { depends: "inside" });
  writeFileSync(join(root, "lib", "modules.builtin"), "kernel/fs/inside.ko\n");
  expect(await load("inside", "top")).toEqual(["top.ko"]);
});

test("an unknown module is wrong usage, with a suggestion", async () => {
  module("fuse", { depends: "" });
  await expect(load("fusefs")).rejects.toMatchObject({
    code: "NO_SUCH_MODULE",
    exitCode: 2,
    hint: "did you mean fuse?",
  });
});

test("a missing dependency names the module that needs it", async () => {
  module("top", { depends: "gone" });
  await expect(load("top")).rejects.toMatchObject({ code: "NO_SUCH_MODULE", why: "top depends on it", exitCode: 1 });
});

test("a key may stand in .modinfo several times", () => {
  const path = join(root, "a.o");
  execFileSync("as", ["-o", path, "-"], { input: '.section .modinfo,"a"\n.asciz "alias=a"\n.asciz "alias=b=c"\n' });
  const file = execFileSync("cat", [path]);
  expect(readModinfo(file).get("alias")).toEqual(["a", "b=c"]);
});

test("a module that is given as a file goes by its own name, before the kernel's own, and brings what it depends on", async () => {
  module("bottom", { depends: "" });
  module("greet", { depends: "" });
  module("renamed", { name: "greet", depends: "bottom" }, ["xz"]);
  const copies = join(root, "copies");
  mkdirSync(copies);
  const named = await modulesByName([join(root, "lib/kernel/fs/renamed.ko.xz")], copies);
  expect([...named.keys()]).toEqual(["greet"]);
  const files = await resolveModules(await indexModules(join(root, "lib"), named), ["greet"], out);
  expect(files.map((file) => basename(file))).toEqual(["bottom.ko", "renamed.ko"]);
  await expect(modulesByName([join(root, "none.ko")], copies)).rejects.toMatchObject({
    code: "NO_SUCH_MODULE",
    exitCode: 2,
  });
});

import { expect, test } from "vitest";
import { objectPath, parseCommand, preprocessedPath } from "../../src/tree/compile.ts";

test("a command as kernels up to 6.3 record it", () => {
  const text = "cmd_fs/a.o := gcc -c -o fs/a.o fs/a.c\n\nsource_fs/a.o := fs/a.c\n";
  expect(parseCommand("fs/a.c", "fs/a.o", text)).toEqual({
    source: "fs/a.c",
    object: "fs/a.o",
    command: "gcc -c -o fs/a.o fs/a.c",
    module: undefined,
  });
});

test("a command as later kernels record it, with what make had escaped", () => {
  const text =
    "savedcmd_fs/a.o := gcc -DX='\"$$HOME\"' -DY=\\#1 -DZ=$(pound)2 -c fs/a.c ; ./tools/objtool/objtool fs/a.o\n";
  expect(parseCommand("fs/a.c", "fs/a.o", text).command).toBe(
    "gcc -DX='\"$HOME\"' -DY=#1 -DZ=#2 -c fs/a.c ; ./tools/objtool/objtool fs/a.o",
  );
});

test("the module that a unit belongs to, with underscores", () => {
  const flags = "-DMODULE -DKBUILD_BASENAME='\"dir\"' -DKBUILD_MODNAME='\"nf_conntrack\"'";
  expect(parseCommand("a.c", "a.o", `cmd_a.o := gcc ${flags} -c a.c\n`).module).toBe("nf_conntrack");
  const builtin = flags.replace("-DMODULE ", "-DMODULES ");
  expect(parseCommand("a.c", "a.o", `cmd_a.o := gcc ${builtin} -c a.c\n`).module).toBeUndefined();
});

test("a file without a command is a broken invariant", () => {
  expect(() => parseCommand("fs/a.c", "fs/a.o", "deps_fs/a.o := \\\n")).toThrow("unexpected start of fs/.a.o.cmd");
});

test("paths of what is made from a source", () => {
  expect([objectPath("fs/a.c"), objectPath("lib/b.S"), preprocessedPath("fs/a.o")]).toEqual([
    "fs/a.o",
    "lib/b.o",
    "fs/a.i",
  ]);
});

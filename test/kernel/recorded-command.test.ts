import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  dependencyCommand,
  objectPath,
  parseCommand,
  preprocessedPath,
  readDryRun,
  sectionFlags,
  type UnitCommand,
  unitBuildOptions,
} from "../../src/kernel/tree/unit-command.ts";

test("a command with what make had escaped", () => {
  const text = "gcc -DX='\"$$HOME\"' -DY=\\#1 -DZ=$(pound)2 -c fs/a.c ; ./tools/objtool/objtool fs/a.o";
  expect(parseCommand("fs/a.c", "fs/a.o", text)).toEqual({
    source: "fs/a.c",
    object: "fs/a.o",
    command: "gcc -DX='\"$HOME\"' -DY=#1 -DZ=#2 -c fs/a.c ; ./tools/objtool/objtool fs/a.o",
    module: undefined,
  });
});

test("the module that a unit belongs to, with underscores", () => {
  const flags = "-DMODULE -DKBUILD_BASENAME='\"dir\"' -DKBUILD_MODNAME='\"nf_conntrack\"'";
  expect(parseCommand("a.c", "a.o", `gcc ${flags} -c a.c`).module).toBe("nf_conntrack");
  const builtin = flags.replace("-DMODULE ", "-DMODULES ");
  expect(parseCommand("a.c", "a.o", `gcc ${builtin} -c a.c`).module).toBeUndefined();
});

test("paths of what is made from a source", () => {
  expect([objectPath("fs/a.c"), objectPath("lib/b.S"), preprocessedPath("fs/a.o")]).toEqual([
    "fs/a.o",
    "lib/b.o",
    "fs/a.i",
  ]);
});

const descent = "make -f ./scripts/Makefile.build obj=fs \\\nneed-builtin=1 \\\nfs/a.o\n";
const recipe = (object: string, base: string): string =>
  `set -e;  echo '  CC      ${object}';  gcc -DX='"v"' -c -o ${object}; scripts/basic/fixdep fs/.${base}.o.d ${object} 'gcc -DX='\\''"v"'\\'' -c -o ${object}' > fs/.${base}.o.cmd; rm -f fs/.${base}.o.d\n:\n`;

test("a dry run tells the command that would be recorded, quotes undone", () => {
  const read = readDryRun(`${descent}${recipe("fs/a.o", "a")}\n`, ["fs/a.o"]);
  expect(read.makesMore).toBe(false);
  expect([...read.recorded]).toEqual([["fs/a.o", "gcc -DX='\"v\"' -c -o fs/a.o"]]);
});

test("a dry run of several objects, one of which make cannot make", () => {
  const read = readDryRun(`${descent}${recipe("fs/a.o", "a")}${recipe("fs/b.o", "b")}`, ["fs/a.o", "fs/b.o", "fs/c.o"]);
  expect([...read.recorded.keys()]).toEqual(["fs/a.o", "fs/b.o"]);
});

test("of two recipes for an object, that of the folder further down counts", () => {
  const above = recipe("fs/a.o", "a").replaceAll("gcc", "gcc -DFOLDER_ABOVE");
  expect([...readDryRun(`${above}${recipe("fs/a.o", "a")}`, ["fs/a.o"]).recorded.values()]).toEqual([
    "gcc -DX='\"v\"' -c -o fs/a.o",
  ]);
});

test("files that Kbuild makes before the object", () => {
  const table = "set -e;  echo '  GEN     fs/table.h';  fs/make-table > fs/table.h\n";
  expect(readDryRun(`${descent}${table}${recipe("fs/a.o", "a")}`, ["fs/a.o"]).makesMore).toBe(true);
});

describe("the question what a unit reads", () => {
  const unit = (command: string): UnitCommand => ({ source: "fs/a.c", object: "fs/a.o", command, module: undefined });

  test("leaves out the object, its list of dependencies, and objtool", () => {
    const flags = "gcc -Wp,-MMD,fs/.a.o.d -nostdinc -DX='\"v\"'";
    expect(dependencyCommand(unit(`${flags} -c -o fs/a.o fs/a.c   ; ./tools/objtool/objtool --orc fs/a.o`))).toBe(
      "gcc -nostdinc -DX='\"v\"' -M fs/a.c",
    );
    expect(dependencyCommand(unit("gcc -Wp,-MD,fs/.a.o.d -c -o fs/a.o fs/a.c"))).toBe("gcc -M fs/a.c");
  });

  test("is not made of a command of another form", () => {
    expect(dependencyCommand(unit("set -e; gcc -c -o fs/a.o fs/a.c"))).toBeUndefined();
    expect(dependencyCommand(unit("gcc -o fs/a.o fs/a.c"))).toBeUndefined();
  });
});

test.each([
  ["CONFIG_X86_64=y", []],
  ["CONFIG_PPC64=y", ["-fno-optimize-sibling-calls"]],
  ["# CONFIG_PPC64 is not set", []],
])("a kernel with %s gets the options that its patch modules need", async (line, more) => {
  const folder = mkdtempSync(join(tmpdir(), "kmend-options-"));
  try {
    writeFileSync(join(folder, ".config"), `CONFIG_MODULES=y\n${line}\n`);
    expect((await unitBuildOptions(folder)).compilerFlags).toEqual([...sectionFlags, ...more]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

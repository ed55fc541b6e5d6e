import { expect, test } from "vitest";
import { readStep } from "../../src/kernel/tree/recorded-reads.ts";

test("what Kbuild recorded of a program that it made", () => {
  const text = `savedcmd_scripts/bin2c := gcc -Wp,-MMD,scripts/.bin2c.d -O2 -o scripts/bin2c scripts/bin2c.c

source_scripts/bin2c := scripts/bin2c.c

deps_scripts/bin2c := \\
    $(wildcard include/config/CC_IS_GCC) \\
  /usr/include/stdio.h \\
  scripts/include/../mod/elf.h \\

scripts/bin2c: $(deps_scripts/bin2c)
`;
  expect(readStep("/tree", text)).toEqual({
    target: "scripts/bin2c",
    command: "gcc -Wp,-MMD,scripts/.bin2c.d -O2 -o scripts/bin2c scripts/bin2c.c",
    reads: ["scripts/bin2c.c", "scripts/mod/elf.h"],
  });
});

test("a program of tools/, whose paths are absolute, and older forms", () => {
  const text = `cmd_/tree/tools/objtool/check.o := gcc -c -o /tree/tools/objtool/check.o check.c

source_/tree/tools/objtool/check.o := check.c

deps_/tree/tools/objtool/check.o := \\
  /tree/tools/include/linux/hashtable.h \\
  arch.h \\

`;
  expect(readStep("/tree", text)).toMatchObject({
    target: "tools/objtool/check.o",
    reads: ["tools/objtool/check.c", "tools/include/linux/hashtable.h", "tools/objtool/arch.h"],
  });
  expect(readStep("/tree", "# nothing\n")).toBeUndefined();
});

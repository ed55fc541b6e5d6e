import { expect, test } from "vitest";
import { checkMakefiles, sortFiles } from "../../src/build/pairs/sort-files.ts";
import type { ChangedFile } from "../../src/change/change-set.ts";

/** In a tree with `fs/Makefile` alone. */
const check = (files: readonly ChangedFile[], added: readonly string[] = []) =>
  checkMakefiles(files, added, (path) => path === "fs/Makefile");

function file(path: string, original = "a", patched = "b"): ChangedFile {
  return { path, kind: "modified", original: Buffer.from(original), patched: Buffer.from(patched) };
}

test.each([
  ["fs/proc/meminfo.c", "sources"],
  ["arch/x86/lib/memcpy_64.S", "sources"],
  ["certs/system_keyring.c", "sources"],
  ["include/linux/fs.h", "headers"],
  ["kernel/sched/features.h", "headers"],
  ["lib/crc/table.inc", "headers"],
  ["fs/proc/Makefile", "makefiles"],
  ["scripts/Makefile.build", "outside"],
  ["arch/x86/Kbuild", "makefiles"],
  ["Documentation/admin-guide/sysctl/vm.rst", "outside"],
  ["tools/testing/selftests/x.c", "outside"],
  ["MAINTAINERS", "outside"],
  ["arch/arm/boot/dts/board.dts", "outside"],
  [".gitignore", "outside"],
] as const)("%s is one of the %s", (path, kind) => {
  const sorted = sortFiles([file(path)]);
  for (const other of ["sources", "headers", "makefiles", "outside"] as const)
    expect([other, sorted[other].length]).toEqual([other, other === kind ? 1 : 0]);
});

test("a Kconfig file is noted: the running kernel stays configured as it is", () => {
  const sorted = sortFiles([file("fs/Kconfig"), file("arch/x86/Kconfig.debug")]);
  expect(sorted.notes).toEqual([
    "fs/Kconfig: the configuration of the running kernel stays as it is",
    "arch/x86/Kconfig.debug: the configuration of the running kernel stays as it is",
  ]);
});

const before = "# comment\nobj-y := a.o b.o \\\n\tc.o\n";

function refusals(patched: string, added: readonly string[] = []): string[] {
  return check([file("fs/Makefile", before, patched)], added).map(({ code, what, why }) => `${code} ${what}: ${why}`);
}

test("a Makefile may gain the object of a unit that the patch adds", () => {
  expect(refusals(`${before}obj-y += new.o\n`, ["fs/new.o"])).toEqual([]);
  expect(refusals(`${before}obj-y += deep/new.o\n`, ["fs/deep/new.o"])).toEqual([]);
  expect(refusals(`${before}obj-y += other/new.o\n`, ["fs/deep/new.o"])).toHaveLength(1);
});

test("comments, spaces and line breaks do not count", () => {
  expect(refusals("obj-y  := a.o b.o c.o # other comment\n")).toEqual([]);
});

test.each([
  [`${before}obj-y += other.o\n`, "now has other.o"],
  ["obj-y := a.o b.o\n", "no longer has c.o"],
  [`${before}ccflags-y := -DX\n`, "now has ccflags-y -DX"],
  ["obj-m := a.o b.o c.o\n", "no longer has obj-y, and fs/Makefile now has obj-m"],
])("any other change of a Makefile is refused", (patched, problem) => {
  expect(refusals(patched)).toEqual([
    `MAKEFILE fs/Makefile: fs/Makefile ${problem}, which may change how other units are built`,
  ]);
});

test("an object that moves from modules to the image is refused", () => {
  const both = "obj-y := a.o\nobj-m := b.o c.o\n";
  const moved = "obj-y := a.o b.o\nobj-m := c.o\n";
  expect(check([file("fs/Makefile", both, moved)], [])).toHaveLength(1);
});

test("a further line for the object of a new unit is fine", () => {
  const both = "obj-y := a.o\nobj-m := b.o\n";
  expect(check([file("fs/Makefile", both, `${both}obj-m += new.o\n`)], ["fs/new.o"])).toEqual([]);
  expect(check([file("fs/Makefile", both, `${both}obj-m += a.o\n`)], ["fs/new.o"])).toHaveLength(1);
});

test("a condition that is turned round is refused", () => {
  const both = "ifdef CONFIG_A\nobj-y := a.o\nelse\nobj-y := b.o\nendif\n";
  const turned = "ifdef CONFIG_A\nobj-y := b.o\nelse\nobj-y := a.o\nendif\n";
  expect(check([file("fs/Makefile", both, turned)], [])).toHaveLength(1);
});

test("a file that Kbuild takes instead of another one is refused, and so is one that goes", () => {
  const added = (path: string): ChangedFile => ({
    path,
    kind: "added",
    original: null,
    patched: Buffer.from("obj-y := a.o"),
  });
  expect(check([added("fs/Kbuild")]).map(({ why }) => why)).toEqual([
    expect.stringContaining("fs/Kbuild is new beside fs/Makefile"),
  ]);
  expect(check([added("fs/new/Makefile"), added("fs/new/Kbuild.other")])).toEqual([]);
  expect(check([{ path: "fs/Makefile", kind: "deleted", original: Buffer.from("a"), patched: null }])).toHaveLength(1);
});

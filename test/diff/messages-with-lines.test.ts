import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { compareObjects, type DiffResult } from "../../src/build/compare-objects.ts";
import type { OperandInstruction } from "../../src/diff/arch/operands.ts";
import { isLineParameter, isWrittenBehindText } from "../../src/diff/lines/line-places.ts";
import { steadyText } from "../../src/diff/lines/steady-text.ts";
import { compileFor, type Machine, machines, toolchain } from "../fixtures/arch/machines.ts";
import { compileC, kernelPrelude } from "../fixtures/compile.ts";

type Compile = (source: string) => Uint8Array;

const crossed: readonly Machine[] = [machines.aarch64, machines.ppc64leFar, machines.s390x, machines.loongarch64];
const prelude = kernelPrelude.replace(/#line 1\n$/, "");
const builds: readonly (readonly [string, Compile])[] = [
  ["gcc", (source) => compileC(source, ["-w"])],
  ...(spawnSync("clang-19", ["--version"]).status === 0
    ? ([["clang-19", (source: string) => compileC(source, ["-w"], "clang-19")]] as const)
    : []),
  ...crossed
    .filter((machine) => toolchain(machine) !== undefined)
    .map((machine): [string, Compile] => [
      machine.name,
      (source) => compileFor(machine, ["-w"], `${prelude}${source}`),
    ]),
];

const declarations = `
extern int locked(void);
extern void __warn_printk(const char *, ...);
extern void __might_sleep(const char *, int);
extern int __ext4_mark_inode_dirty(void *, void *, const char *, unsigned);
#define ASSERT(format, number) do { if (!locked()) __warn_printk(format, __FILE__, number); } while (0)
#define might_sleep() __might_sleep(__FILE__, __LINE__)
`;

async function compare(compile: Compile, before: string, after: string): Promise<DiffResult> {
  const [a, b] = [before, after].map((body) => compile(`${declarations}\n#line 1 "net/unit.c"\n${body}`));
  const input = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: false };
  return (await compareObjects(a as Uint8Array, b as Uint8Array, input)).result;
}

/** Enough uses of one name that its address stays in a register of the function, or on its stack. */
const assertion = (format: string, number: string): string => `
int begins(int x) { might_sleep(); return take(x) + 1; }
int several(int x)
{
	ASSERT("${format}", ${number});
	might_sleep();
	ASSERT("${format}", ${number});
	might_sleep();
	return take(x) + take(x + 1);
}
int sleeps(int x) { might_sleep(); return take(x); }
`;

describe.each(builds)("%s, without line tables", (_, compile) => {
  test("a line in a message behind the name of its file moves, wherever the name comes from", async () => {
    const source = assertion("assertion failed at %s (%d)", "__LINE__");
    const { outcome, movedLines } = await compare(compile, source, `\n${source}`);
    expect(outcome).toBe("unchanged");
    expect(movedLines?.map(({ name }) => name)).toEqual(["begins", "several", "sleeps"]);
  });

  test("a number that is not said to be a line does not, nor one that moves otherwise", async () => {
    const changed = async (format: string, before: string, after: string): Promise<string[]> => {
      const result = await compare(compile, assertion(format, before), `\n${assertion(format, after)}`);
      return result.changedFunctions.map(({ name }) => name);
    };
    expect(await changed("at %s (%d)", "900", "907")).toEqual(["several"]);
    const limit = (lines: number): string =>
      `${"\n".repeat(9)}${"\n".repeat(lines)}int several(const char *name, int x) { printk("%s:%d", name, ${3 + lines}); return take(x); }
int sleeps(int x) { might_sleep(); return take(x); }`;
    const changedIn = async (before: string, after: string): Promise<string[]> =>
      (await compare(compile, before, after)).changedFunctions.map(({ name }) => name);
    expect(await changedIn(limit(0), limit(1))).toEqual(["several"]);
    // Among the lines of the file, but in a function that has no name of a file.
    const among = (lines: number): string => `${"\n".repeat(lines)}
int begins(int x) { might_sleep(); return take(x) + 1; }
${"\n".repeat(40)}
int several(const char *name, int x) { printk("%s:%d", name, ${20 + lines}); return take(x); }
int sleeps(int x) { might_sleep(); return take(x); }`;
    expect(await changedIn(among(0), among(1))).toEqual(["several"]);
    expect(await changed("at %s (%d)", "900", "900 + take(x)")).toEqual(["several"]);
  });

  test("known lines of a file system move", async () => {
    const source = `
int dirty(void *h, void *i) { return __ext4_mark_inode_dirty(h, i, __func__, __LINE__) + 1; }
int sleeps(int x) { might_sleep(); return take(x); }`;
    const { outcome, movedLines } = await compare(compile, source, `\n\n${source}`);
    expect(outcome).toBe("unchanged");
    expect(movedLines?.map(({ name }) => name)).toEqual(["dirty", "sleeps"]);
  });
});

test("a known line that an inline function of a header hands on moves, though the tables have the header there", async () => {
  const source = (lines: number): string => `
#line 1 "unit.h"
static inline int mark(void *h, void *i, unsigned line) { return __ext4_mark_inode_dirty(h, i, 0, line); }
#line 1 "net/unit.c"
${"\n".repeat(lines)}int dirty(void *h, void *i) { return mark(h, i, __LINE__) + 1; }
int sleeps(int x) { might_sleep(); return take(x); }`;
  const [a, b] = [0, 3].map((lines) => compileC(`${declarations}${source(lines)}`, ["-g", "-w"]));
  const input = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: false };
  const { result } = await compareObjects(a as Uint8Array, b as Uint8Array, input);
  expect(result).toMatchObject({ outcome: "unchanged", movedLines: [{ name: "dirty" }, { name: "sleeps" }] });
});

test("a message writes a line right behind the name of its file", () => {
  expect(isWrittenBehindText("%s:%d: %s", 1)).toBe(true);
  expect(isWrittenBehindText("100%% at %s (%u)", 1)).toBe(true);
  expect(isWrittenBehindText("%d: %s line %d", 2)).toBe(true);
  expect(isWrittenBehindText("%s has %d left", 1)).toBe(false);
  expect(isWrittenBehindText("%s:%d", 0)).toBe(false);
  expect(isWrittenBehindText("%*s:%d", 1)).toBe(false);
  expect(isWrittenBehindText("%s:%s", 1)).toBe(false);
});

test("where older kernels have a type, a small number is none of a line", () => {
  expect(isLineParameter("__ext4_journal_start_sb", 2, 9)).toBe(false);
  expect(isLineParameter("__ext4_journal_start_sb", 2, 900)).toBe(true);
});

describe("the text that a register holds in all of a function", () => {
  const step = (more: Partial<OperandInstruction>): OperandInstruction =>
    ({ offset: 0, length: 4, touches: [], flow: "next", ...more }) as OperandInstruction;
  const [text, other] = [step({ target: 20, load: undefined }), step({ target: 20 })];
  const call = step({ flow: "end", addresses: { goesOn: "call" } });
  const [restore, back] = [step({ touches: [20, 31], writes: [20] }), step({ flow: "end" })];
  const held = (...instructions: OperandInstruction[]): string | undefined =>
    steadyText(
      {
        instructions,
        textMadeBy: (each) => (each === text ? "unit.c" : undefined),
        at: () => undefined,
        leaves: () => false,
      },
      20,
    );

  test("is told, calls and the end of the function included", () => {
    expect(held(text, call, restore, back)).toBe("unit.c");
  });
  test("is not where the function puts something else there", () => {
    expect(held(text, call, other, call, restore, back)).toBeUndefined();
    expect(held(text, call, restore, call, restore, back)).toBeUndefined();
    expect(held(text, step({ touches: [20] }), call, back)).toBeUndefined();
  });
});

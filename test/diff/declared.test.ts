import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { btfMeaning, isSameMeaning } from "../../src/diff/layout/btf-meaning.ts";
import { declaredOutside } from "../../src/diff/layout/declared.ts";
import { encodeUnitTypes } from "../../src/diff/layout/unit-btf.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { Btf } from "../../src/kernel/types/btf.ts";
import { BtfKind } from "../../src/kernel/types/btf-format.ts";
import { compileC } from "../fixtures/compile.ts";
import { hasProgram } from "../fixtures/has-program.ts";

/** Every kind of type that a prototype of the kernel has. */
const types = `
  typedef unsigned int gfp;
  typedef struct { int counter; } atomic;
  typedef int (*handler)(void *, unsigned long);
  enum mode { quick, slow };
  struct file; union either { int n; void *p; };
  struct op { int (*run)(struct file *, const char *); };
`;

/** Declaration, body of the definition, call. */
const functions: readonly (readonly [declared: string, call: string])[] = [
  ["int plain(int a, long b)", "plain(1, 2)"],
  ["unsigned long far(void *p, gfp flags)", "(int)far(0, 2)"],
  ["void *many(const char *format, ...)", 'many("x", 1) == 0'],
  ["_Bool ready(struct file *f, enum mode m)", "ready(0, slow)"],
  ["int shaped(struct op *ops, union either *e, atomic *v, int table[4][2])", "shaped(0, 0, 0, 0)"],
  ["int called(handler h, int (*other)(enum mode, ...))", "called(0, 0)"],
  ["short narrow(unsigned char c, signed char d, unsigned short s)", "narrow(1, 2, 3)"],
];
const nameOf = (declared: string): string => /(\w+)\(/.exec(declared.replace(/\(\*.*/, ""))?.[1] ?? "";

let folder: string;
let kernel: Btf;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "kmend-declared-"));
  const bodies = functions.map(([declared]) => `${declared} { return 0; }`).join("\n");
  writeFileSync(join(folder, "kernel.o"), compileC(`${types}${bodies}`, ["-g"]));
  kernel = new Btf(await encodeUnitTypes(join(folder, "kernel.o"), folder), "vmlinux");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Names whose declaration in a unit is another than that of the kernel. */
function differing(declarations: readonly string[], compiler = "gcc", flags: readonly string[] = ["-g"]): string[] {
  const calls = functions.map(([, call]) => call).join(" + ");
  const unit = compileC(`${types}${declarations.join(";\n")};\nint user(void) { return ${calls}; }`, flags, compiler);
  const declared = declaredOutside(new ElfReader(unit));
  return functions.flatMap(([text]) => {
    const name = nameOf(text);
    const known = declared.get(name);
    if (known === undefined) return [`${name} is not declared`];
    const [type] = kernel.find(BtfKind.func, name) as [number];
    return isSameMeaning(btfMeaning(kernel, type), known.meaning) ? [] : [name];
  });
}

const same = functions.map(([declared]) => declared);

const compilers: readonly (readonly [string, string])[] = [
  ["gcc", "-gdwarf-5"],
  ["gcc", "-gdwarf-4"],
  ["clang-14", "-gdwarf-5"],
  ["clang-19", "-gdwarf-4"],
];

test.each(compilers.filter(([name]) => hasProgram(name)))(
  "what %s %s says of the kernel's own functions is what the kernel has",
  (compiler, flag) => {
    expect(differing(same, compiler, [flag])).toEqual([]);
  },
);

describe("another prototype is found", () => {
  test.each([
    ["the order of arguments", "plain", "int plain(long a, int b)"],
    ["an argument more", "plain", "int plain(int a, long b, ...)"],
    ["the sign of what it returns", "plain", "unsigned plain(int a, long b)"],
    ["the width of what it returns", "far", "unsigned far(void *p, gfp flags)"],
    ["a struct instead of its pointer", "ready", "_Bool ready(struct op *f, enum mode m)"],
    ["nothing is returned", "narrow", "int narrow(unsigned char c, signed char d, unsigned short s)"],
    ["what a handler takes", "called", "int called(int (*h)(void *, unsigned), int (*other)(enum mode, ...))"],
    ["a handler without its dots", "called", "int called(handler h, int (*other)(enum mode))"],
    ["another struct behind a pointer", "shaped", "int shaped(struct op *o, struct op *e, atomic *v, int t[4][2])"],
    ["another array", "shaped", "int shaped(struct op *o, union either *e, atomic *v, int t[2][4])"],
  ])("%s", (_, name, declared) => {
    expect(differing(same.map((text) => (nameOf(text) === name ? declared : text)))).toEqual([name]);
  });
});

test("an enum is a number of its size, names of typedefs and arguments do not count", () => {
  const others = same.map((text) =>
    text
      .replace("enum mode m)", "unsigned int way)")
      .replace("gfp flags", "unsigned flags")
      .replace("handler h", "int (*h)(void *, unsigned long)"),
  );
  expect(differing(others)).toEqual([]);
});

test("variables of other units have the size of their declaration", () => {
  const unit = compileC(
    `extern long wide; extern short list[3][5]; extern int open[]; extern struct op { char c[24]; } op; extern const int fixed;
     long f(int i) { return wide + list[i][i] + open[i] + op.c[i] + fixed; }`,
    ["-g"],
  );
  const sizes = [...declaredOutside(new ElfReader(unit))].map(([name, { kind, size }]) => [name, kind, size]);
  expect(sizes.sort()).toEqual([
    ["fixed", "variable", 4],
    ["list", "variable", 30],
    ["op", "variable", 24],
    ["open", "variable", undefined],
    ["wide", "variable", 8],
  ]);
});

import { describe, expect, test } from "vitest";
import { namesOnlyAdded } from "../../src/change/additions.ts";

const header = `#ifndef _H
#define _H
#include <linux/types.h>
struct known { int a; };
static inline int twice(int a) { return 2 * a; }
#endif
`;

/** The names when `text` is added before the last line. */
function added(text: string): string[] | undefined {
  const names = namesOnlyAdded(header, header.replace(/#endif\n$/, `${text}\n#endif\n`));
  return names === undefined ? undefined : [...names].sort();
}

describe("what only adds names", () => {
  test.each([
    ["/* a comment */", []],
    ["struct file;", []],
    ["int fresh(const struct file *file, int (*call)(int));", ["fresh"]],
    ["extern __printf_free struct file *fresh(void) __must_check;", ["fresh"]],
    ["void fresh(const char *format, ...) __printf(1, 2);", ["fresh"]],
    ["extern struct file *fresh;", ["fresh"]],
    ["extern const unsigned long fresh[];", ["fresh"]],
    ["#define FRESH(a) twice(a)", ["FRESH"]],
    ["struct fresh { int a; struct { int b; } c; } __packed;", ["fresh"]],
    ["enum fresh { ONE, TWO = 4, };", ["ONE", "TWO", "fresh"]],
    [
      "#ifdef CONFIG_NET\nint fresh(void);\n#else\nstatic inline int fresh(void) { return known(1); }\n#endif",
      ["fresh"],
    ],
    ["static inline bool fresh(int a)\n{\n\treturn a;\n}\nint other(void);", ["fresh", "other"]],
  ])("%s", (text, names) => {
    expect(added(text)).toEqual(names);
  });

  test("at the beginning and in the middle", () => {
    const patched = header
      .replace("struct known", "int fresh(void);\nstruct known")
      .replace("static", "#define MORE 1\nstatic");
    expect([...(namesOnlyAdded(header, patched) ?? [])].sort()).toEqual(["MORE", "fresh"]);
  });
});

describe("what does more, or may do more", () => {
  test.each([
    "#include <linux/list.h>",
    "#undef CONFIG_NET",
    "#pragma pack(1)",
    "#ifdef CONFIG_NET",
    "DECLARE_STATIC_KEY_FALSE(fresh);",
    "__NEW_ATTRIBUTE(1) int twice(int);",
    "static int fresh = 1;",
    "int fresh;",
    "extern int fresh, twice;",
    "typedef int fresh;",
    "struct fresh { enum { ONE } a; };",
    "struct fresh { int a; } variable;",
    "int (*fresh)(void);",
  ])("%s", (text) => {
    expect(added(text)).toBeUndefined();
  });

  test("a changed or removed line", () => {
    for (const [from, to] of [
      ["2 * a", "3 * a"],
      ["int a;", "int a, b;"],
      ["#include <linux/types.h>\n", ""],
      ["#ifndef _H", "#ifdef _H"],
    ] as const)
      expect(namesOnlyAdded(header, header.replace(from, to))).toBeUndefined();
  });

  test("lines that come under a condition", () => {
    const patched = header
      .replace("struct known", "#ifdef CONFIG_NET\nstruct known")
      .replace("static inline", "#endif\nstatic inline");
    expect(namesOnlyAdded(header, patched)).toBeUndefined();
  });
});

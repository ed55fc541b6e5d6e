import { describe, expect, test } from "vitest";
import { cItems, cTokens } from "../../src/change/c-tokens.ts";
import { mayChangeTypes, typesOfChange } from "../../src/change/type-change.ts";

const unit = `
/* A comment with a { in it, and "quotes". */
#include <linux/fs.h>
#define OPEN {
struct plain { int a; };
typedef struct { long b; } hidden_t;
static const char text[] = "} { ' /* no comment */";
static struct plain *find(int key)
{
	static long calls;

	if (key == '{' || ++calls > 9)
		return NULL;
#ifdef CONFIG_X
	key++;
#else
	key--;
#endif
	return lookup(key);
}
int global(struct plain by_value)
{
	return by_value.a;
}
`;

function changed(from: string, to: string, path = "fs/unit.c"): boolean {
  expect(unit).toContain(from);
  const patched = Buffer.from(unit.replace(from, () => to));
  return mayChangeTypes([{ path, kind: "modified", original: Buffer.from(unit), patched }]);
}

describe("a change that leaves types alone", () => {
  test.each([
    ["in a body", "return lookup(key);", "return key > 0 ? lookup(key) : NULL;"],
    ["in a branch of a conditional", "key--;", "key -= 2;"],
    ["in a comment", "A comment", "A remark"],
    ["of white space", "struct plain { int a; };", "struct plain {\n\tint a;\n};"],
    ["that declares variables", "return lookup(key);", "struct plain *p = lookup(key);\n\treturn p;"],
    ["that adds a static variable", "return lookup(key);", "static int fresh;\n\treturn lookup(key + fresh);"],
    ["that adds a function", "int global(", "static int added(void)\n{\n\treturn 1;\n}\nint global("],
  ])("%s is known as one", (_, from, to) => expect(changed(from, to)).toBe(false));
});

describe("a change that may touch types", () => {
  test.each([
    ["of a member", "int a;", "long a;"],
    ["of a member in a typedef", "long b;", "long b, c;"],
    ["of a macro", "#define OPEN {", "#define OPEN {{"],
    ["of an #include", "linux/fs.h", "linux/mm.h"],
    ["of a prototype", "find(int key)", "find(long key)"],
    ["of a variable's type", "static const char text", "const char text"],
    ["that defines a type in a body", "return lookup(key);", "struct inner { int x; } y;\n\treturn lookup(key);"],
    ["of a static variable in a body", "static long calls;", "static void *calls;"],
    ["that defines a macro in a body", "key--;", "key--;\n#define N 4\n"],
    ["that removes a function", "int global(struct plain by_value)\n{\n\treturn by_value.a;\n}", ""],
    ["that unbalances braces", "key--;", "key--; {"],
    ["that adds what a macro makes", "int global(", "DEFINE_THING(added)\n{\n}\nint global("],
    [
      "that adds a struct with attributes",
      "int global(",
      "struct x __attribute__((packed))\n{\n\tint a;\n};\nint global(",
    ],
  ])("%s is looked at", (_, from, to) => expect(changed(from, to)).toBe(true));

  test("may be that of a macro's body in a header, where that of a function is none", () => {
    expect(changed("key--;", "key -= 2;", "include/linux/x.h")).toBe(false);
    expect(changed("int a;", "long a;", "include/linux/x.h")).toBe(true);
    const made = unit.replace("int global(struct plain by_value)", "MAKE(fields)");
    const [path, kind] = ["include/linux/x.h", "modified"] as const;
    const patched = Buffer.from(made.replace("return by_value.a;", "int b;"));
    expect(mayChangeTypes([{ path, kind, original: Buffer.from(made), patched }])).toBe(true);
  });

  test("is looked at in files of unknown kind", () => {
    expect(changed("key--;", "key -= 2;", "fs/Makefile")).toBe(true);
    expect(changed("key--;", "key -= 2;", "Documentation/x.rst")).toBe(false);
  });
});

test("braces that only pair in one branch of a conditional leave the file in doubt", () => {
  const torn = "#ifdef A\nint f(int a)\n{\n#else\nint f(long a)\n{\n#endif\n\treturn 0;\n}\n";
  expect(cItems(cTokens(torn))).toBeUndefined();
  expect(cItems(cTokens(unit))?.filter(({ kind }) => kind === "function").length).toBe(2);
});

test("types that the patch defines are told from those that it moves", () => {
  const files = [
    {
      path: "a.h",
      kind: "modified" as const,
      original: Buffer.from("struct moved { int a; };"),
      patched: Buffer.from(""),
    },
    {
      path: "b.c",
      kind: "modified" as const,
      original: Buffer.from("struct used *p;"),
      patched: Buffer.from(
        "struct moved { int a; };\nenum __packed fresh { A };\ntypedef struct { int x; } fresh_t;\ntypedef struct elsewhere same;\nstruct used *p;",
      ),
    },
  ];
  const { introduced, removed } = typesOfChange(files);
  expect([...introduced].filter((name) => !name.startsWith("__"))).toEqual(["fresh", "fresh_t"]);
  expect([...removed]).toEqual([]);
  expect([...typesOfChange(files.slice(0, 1)).removed]).toEqual(["moved"]);
});

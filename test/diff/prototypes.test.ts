import { describe, expect, test } from "vitest";
import { layoutUnits, using } from "./layout-units.ts";

const { refused } = layoutUnits();

describe("a prototype", () => {
  const global = (head: string): string => `struct x; ${head};\n${head} { return 0; }\n`;
  const before = global("int run(int a, struct x *p)");

  test.each<[string, string, string]>([
    ["another argument", "int run(int a, struct x *p, int c)", "it takes 3 and not 2 arguments"],
    ["a wider argument", "int run(long a, struct x *p)", "argument 1 changes from int to long"],
    ["another result", "void *run(int a, struct x *p)", "what it returns changes from int to void *"],
  ])("of a global function with %s is refused", async (_, head, difference) => {
    const [what, why] = (await refused(before, global(head))) ?? [];
    expect([what, why]).toEqual(["run()", expect.stringContaining(difference)]);
    expect(await refused(before, global(head), { allowed: ["run"] })).toBeUndefined();
  });

  test.each<[string, string, string, string | undefined]>([
    ["void *p, struct x *q", "struct x *q, void *p", "changes the places of two", "p moves from argument 1 to 2"],
    [
      "struct x *p, void *q",
      "void *p, struct x *q",
      "gets the types of two exchanged",
      "argument 2 changes from void *",
    ],
    ["int from, int to", "int to, int from", "exchanges two of one type", "from moves from argument 1 to 2"],
    ["int a, void *p", "int a, struct x *p", "tells one more closely", undefined],
    ["int a, int b", "int first, int second", "names them anew", undefined],
  ])("(%s) that becomes (%s): %s", async (old, patched, _, difference) => {
    const found = await refused(global(`int run(${old})`), global(`int run(${patched})`));
    if (difference === undefined) expect(found).toBeUndefined();
    else expect(found).toEqual(["run()", expect.stringContaining(difference)]);
  });

  test("of a static function matters when its address is taken", async () => {
    const unit = (parameters: string, rest: string): string =>
      `static __attribute__((noinline)) int f(${parameters}) { return a; }\n${rest}`;
    const called = (argument: string): string => `int g(int a); int g(int a) { return f(${argument}) + 1; }`;
    expect(await refused(unit("int a", called("a")), unit("int a, int b", called("a, a")))).toBeUndefined();
    const stored = "void *table[] = { f };";
    expect((await refused(unit("int a", stored), unit("int a, int b", stored)))?.[0]).toBe("f()");
    const passed = "void keep(void *); void h(void); void h(void) { keep(f); }";
    expect((await refused(unit("int a", passed), unit("int a, int b", passed)))?.[0]).toBe("f()");
  });

  test("of a function pointer in a struct is part of the struct", async () => {
    const ops = (parameters: string): string => using("struct ops", `struct ops { int (*show)(${parameters}); };`);
    expect((await refused(ops("int a"), ops("int a, void *p")))?.[1]).toContain(
      "show changes its type from int (*show)(int) to int (*show)(int, void *)",
    );
    expect(await refused(ops("int a"), ops("int b"))).toBeUndefined();
  });
});

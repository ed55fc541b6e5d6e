import { expect, test } from "vitest";
import { diffPatched } from "./diff-units.ts";

const change = "\n#ifdef PATCHED\n x += 3;\n#endif\n";

test("the callers of a changed function without an ftrace entry are patched in its place", async () => {
  const diff = await diffPatched(`
    static noinline notrace int inner(int x) { ${change} return take(x); }
    int f(int x) { return inner(x) + 1; }
    int g(int x) { return inner(x) + 2; }
    int unrelated(int x) { return take(x) + 3; }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f", "g"]);
  expect(diff.carried).toEqual(["f", "g", "inner"]);
  expect(diff.reason("f")).toBe("calls inner, which changed and cannot be redirected by ftrace");
  expect(diff.routes("f").join()).toContain("inside inner-4");
});

test("callers of callers follow when those cannot be redirected either", async () => {
  const diff = await diffPatched(`
    static noinline notrace int inner(int x) { ${change} return take(x); }
    static noinline notrace int middle(int x) { return inner(x) * 5; }
    int f(int x) { return middle(x) + 1; }
    static noinline notrace int apart(int x) { return take(x) * 5; }
    int g(int x) { return apart(x) + 1; }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried).toEqual(["f", "inner", "middle"]);
});

test("two functions that cannot be redirected and call each other end in their callers", async () => {
  const diff = await diffPatched(`
    static int pong(int x);
    static noinline notrace int ping(int x) { ${change} return x ? pong(take(x)) + 1 : 0; }
    static noinline notrace int pong(int x) { return x ? ping(take(x)) + 2 : 1; }
    int f(int x) { return ping(x) + 1; }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried).toEqual(["f", "ping", "pong"]);
});

test("a global function without an entry is refused", async () => {
  const diff = await diffPatched(`notrace noinline int inner(int x) { ${change} return take(x); }`);
  expect(diff.refusals).toEqual(["NOT_TRACEABLE inner"]);
  expect(diff.changes.refusals[0]?.why).toContain("other units may call it");
});

test("one whose address is taken is refused, with the place that takes it", async () => {
  const diff = await diffPatched(`
    static notrace noinline int inner(int x) { ${change} return take(x); }
    int f(int x) { outside(inner); return inner(x); }
  `);
  expect(diff.refusals).toEqual(["NOT_TRACEABLE inner"]);
  expect(diff.changes.refusals[0]?.why).toContain("f takes its address");
});

test("one whose address stands in data is refused", async () => {
  const diff = await diffPatched(`
    static notrace noinline int inner(int x) { ${change} return take(x); }
    int (*handler)(int) = inner;
  `);
  expect(diff.refusals).toEqual(["NOT_TRACEABLE inner"]);
  expect(diff.changes.refusals[0]?.why).toContain("handler refers to it");
});

test("one that boot code calls is refused", async () => {
  const diff = await diffPatched(`
    static notrace noinline int inner(int x) { ${change} return take(x); }
    __init int setup(int x) { return inner(x); }
    int f(int x) { return inner(x); }
  `);
  expect(diff.refusals).toEqual(["NOT_TRACEABLE inner"]);
});

test("a changed cold part of a function without an entry takes the callers of the function", async () => {
  const diff = await diffPatched(`
    extern int complain(const char *) __attribute__((cold));
    #ifdef PATCHED
    #define TEXT "new"
    #else
    #define TEXT "old"
    #endif
    static noinline notrace int inner(int x) { if (x == 77) { complain(TEXT); return take(4); } return take(x); }
    int f(int x) { return inner(x) + 1; }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried).toEqual(["f", "inner", "inner.cold"]);
});

test("a function that only the patch gives an entry counts by its original", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define quiet
    #else
    #define quiet notrace
    #endif
    static noinline quiet int inner(int x) { return take(x); }
    int f(int x) { return inner(x) + 1; }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried).toEqual(["f", "inner"]);
});

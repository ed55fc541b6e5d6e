import { expect, test } from "vitest";
import { diffC, diffPatched } from "./diff-units.ts";

const nothing = { redirected: [], carried: [], refusals: [] };

function outcome(diff: { redirected: string[]; carried: string[]; refusals: string[] }): typeof nothing {
  return { redirected: diff.redirected, carried: diff.carried, refusals: diff.refusals } as typeof nothing;
}

test("an object compared with itself is unchanged, whatever it holds", async () => {
  const diff = await diffPatched(`
    struct ops { int (*run)(int); const char *name; int *state; };
    static int count;
    static const int squares[] = { 0, 1, 4, 9 };
    static int run(int x) { static int calls; calls++; return squares[x & 3] + calls; }
    static struct ops table[] = { { run, "run", &count }, { take, "take", 0 } };
    struct ops *registered[] = { &table[0], &(struct ops){ run, "literal", 0 } };
    __init int setup(void) { outside(table); return 0; }
    __sched int sleepy(int x) { return run(x); }
    int f(int x) { static int tries; static int *kept[2] = { &tries, &count }; outside(kept); return table[x].run(x); }
    int g(int x) { static int tries; tries = x; outside(&tries); switch (x) { case 1: return take(5); case 2: return take(8); case 3: return take(1); case 4: return take(77); case 5: return run(3); case 6: outside(registered); } return 0; }
  `);
  expect(outcome(diff)).toEqual(nothing);
});

test("only the function whose code changed is carried; everything else it uses stays where it is", async () => {
  const diff = await diffPatched(`
    static int limit = 5;
    static noinline int helper(int x) { limit++; return take(x); }
    int other(int x) { return helper(x) + 1; }
    int f(int x) {
    #ifdef PATCHED
      if (x > limit) return -22;
    #endif
      return helper(x);
    }
  `);
  expect(outcome(diff)).toEqual({ redirected: ["f"], carried: ["f"], refusals: [] });
  expect(diff.reason("f")).toMatch(/^(differs from byte|refers to|has \d+ bytes)/);
  const routes = diff.routes("f").map((route) => route.replace(/^\S+ /, ""));
  expect(routes).toContain("external __fentry__-4");
  expect(routes).toContain("original helper-4");
  expect(routes.some((route) => route.startsWith("original limit"))).toBe(true);
});

test("a changed text makes its function changed, and the texts are told", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define TEXT "new %d\\n"
    #else
    #define TEXT "old %d\\n"
    #endif
    int f(int x) { return printk(TEXT, x); }
    int g(int x) { return printk("same %d\\n", x); }
  `);
  expect(outcome(diff)).toEqual({ redirected: ["f"], carried: ["f"], refusals: [] });
  expect(diff.reason("f")).toBe('refers to "new %d\\n" instead of "old %d\\n"');
  // The text itself comes along, those of other functions do not.
  const texts = diff.selection.atoms.filter(({ kind }) => kind === "string");
  expect(texts.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(["new %d\n\0"]);
});

test("a call of another function of the same length is a change by its relocation only", async () => {
  const diff = await diffPatched(`
    extern int one(int), two(int);
    #ifdef PATCHED
    #define one two
    #endif
    int f(int x) { return one(x) + 1; }
  `);
  expect(outcome(diff)).toEqual({ redirected: ["f"], carried: ["f"], refusals: [] });
  expect(diff.reason("f")).toBe("refers to two instead of one");
});

test("a new helper and its new static variable come along", async () => {
  const diff = await diffPatched(`
    int f(int x);
    #ifdef PATCHED
    static int seen = 3;
    static noinline int helper(int x) { return seen += x; }
    #define take helper
    #endif
    int f(int x) { return take(x) * 3; }
  `);
  expect(outcome(diff)).toEqual({ redirected: ["f"], carried: ["f", "helper", "seen"], refusals: [] });
  expect(diff.changes.functions.get(diff.patched.atoms.find(({ name }) => name === "helper") as never)).toMatchObject({
    change: "new",
    redirected: false,
    original: undefined,
  });
  expect(diff.routes("f").join()).toContain("inside helper-4");
});

test("a new global function and variable are carried although nothing here uses them", async () => {
  const diff = await diffPatched(`
    int f(int x) { return take(x); }
    #ifdef PATCHED
    int brand_new = 4;
    int for_others(int x) { return take(x) - 1; }
    #endif
  `);
  expect(outcome(diff)).toEqual({ redirected: [], carried: ["brand_new", "for_others"], refusals: [] });
});

test("a function that is gone is no change of its own", async () => {
  const diff = await diffPatched(`
    #ifndef PATCHED
    int gone(int x) { return take(x); }
    #endif
    int f(int x) { return take(x); }
  `);
  expect(outcome(diff)).toEqual(nothing);
});

test("the address of a changed function in new data is the original's, a call goes to the new code", async () => {
  const diff = await diffPatched(`
    struct ops { int (*run)(int); };
    noinline int run(int x) {
    #ifdef PATCHED
      x++;
    #endif
      return take(x) + 2;
    }
    #ifdef PATCHED
    static struct ops fresh = { run };
    #endif
    int f(int x) {
    #ifdef PATCHED
      outside(&fresh);
      outside(run);
    #endif
      return run(x) + 5;
    }
  `);
  expect(outcome(diff)).toEqual({ redirected: ["f", "run"], carried: ["f", "fresh", "run"], refusals: [] });
  expect(diff.routes("fresh")).toEqual(["+0x0 original run+0"]);
  const routes = diff.routes("f").map((route) => route.replace(/^\S+ /, ""));
  expect(routes).toContain("original run+0");
  expect(routes).toContain("inside run-4");
});

test("the target of a jump table is the new code of its function", async () => {
  const diff = await diffPatched(
    `
    int f(int x) {
      switch (x) {
        case 0: return take(3); case 1: return take(1); case 2: outside(0); return 9; case 3: return take(55);
        case 4: return take(44) + 1; case 5: outside(&take); return 1;
      }
    #ifdef PATCHED
      outside(0);
    #endif
      return 0;
    }
    `,
    ["-fno-pic"],
  );
  expect(outcome(diff)).toMatchObject({ redirected: ["f"], refusals: [] });
  const table = diff.selection.atoms.find(({ kind }) => kind === "rodata");
  expect(table).toBeDefined();
  const routes = table?.references.map((reference) => diff.selection.route(table, reference));
  expect(routes?.length).toBeGreaterThanOrEqual(6);
  expect(new Set(routes?.map((route) => `${route.to} ${"atom" in route ? route.atom.name : ""}`))).toEqual(
    new Set(["inside f"]),
  );
});

test("the labels of a computed goto are in the new code of its function", async () => {
  const diff = await diffPatched(`
    int f(int x) {
      static const void *const labels[] = { &&first, &&second };
    #ifdef PATCHED
      outside(0);
    #endif
      goto *labels[x];
    first: return take(1);
    second: return take(2) + 1;
    }
  `);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.refusals).toEqual([]);
  const labels = diff.carried.find((name) => name.startsWith("labels"));
  expect(labels).toBeDefined();
  expect(diff.routes(labels as string).map((route) => route.replace(/\+\d+$/, ""))).toEqual([
    "+0x0 inside f",
    "+0x8 inside f",
  ]);
});

test("a place of its own that a function takes the address of is in the new code", async () => {
  const diff = await diffPatched(`
    int f(int x) {
      take(x);
    #ifdef PATCHED
      take(x + 1);
    #endif
    here:
      outside(&&here);
      if (x) goto here;
      return 3;
    }
  `);
  expect(diff.redirected).toEqual(["f"]);
  // gcc 14 takes it once more for each copy of what stands behind the label.
  const routes = diff.routes("f").filter((route) => / f[+-]/.test(route));
  expect(routes.length).toBeGreaterThan(0);
  for (const route of routes) expect(route).toMatch(/inside f\+\d+$/);
});

test("a cold part that alone changed replaces the whole function, and both halves go together", async () => {
  const diff = await diffPatched(`
    extern int complain(const char *) __attribute__((cold));
    int f(int x) {
      if (x == 77) {
    #ifdef PATCHED
        complain("new words");
    #else
        complain("old words");
    #endif
        return take(4);
      }
      return take(x);
    }
    int g(int x) { if (x == 78) { complain("as ever"); return take(4); } return take(x); }
  `);
  expect(outcome(diff)).toEqual({ redirected: ["f"], carried: ["f", "f.cold"], refusals: [] });
  expect(diff.reason("f")).toBe('its cold part refers to "new words" instead of "old words"');
  expect(diff.routes("f").join()).toContain("inside f.cold");
});

test("an unchanged cold part goes with its changed function", async () => {
  const diff = await diffPatched(`
    extern int complain(const char *) __attribute__((cold));
    int f(int x) {
      if (x == 77) { complain("text"); return take(4); }
    #ifdef PATCHED
      x = x * 5 + 3;
    #endif
      return take(x);
    }
  `);
  expect(outcome(diff)).toEqual({ redirected: ["f"], carried: ["f", "f.cold"], refusals: [] });
});

test("a change that only a .part function shows patches that function, as kpatch does not", async () => {
  const diff = await diffPatched(`
    extern int a, b;
    static int f(int x) {
      if (__builtin_expect(x == 0, 1)) return 0;
      outside(&a); take(x); take(x + 1); outside(&b); take(x + 2); outside(&a);
    #ifdef PATCHED
      take(x + 4);
    #else
      take(x + 3);
    #endif
      outside(&b);
      return a + b;
    }
    int one(int x) { return f(x) + f(x + 1); }
    int two(int x) { return f(x) * f(x + 3) + f(x - 1); }
    int three(int x) { return f(x) - f(x + 9) + f(x / 2); }
  `);
  const parts = diff.patched.atoms.filter(({ name }) => name.startsWith("f.part.")).map(({ name }) => name);
  expect(parts).toHaveLength(1);
  expect(diff.redirected).toEqual(parts);
  expect(diff.carried).toEqual(parts);
});

test("__func__ and the flags of once-macros are not changes when their numbers move", async () => {
  const diff = await diffPatched(`
    #define warn_once(text) ({ static char __attribute__((section(".data.once"))) __already_done; if (!__already_done) { __already_done = 1; printk(text); } })
    #ifdef PATCHED
    int early(int x) { static int other; static int more; outside(&other); outside(&more); warn_once("early"); outside((void *)__func__); return x; }
    #endif
    int f(int x) { warn_once("f"); outside((void *)__func__); return take(x); }
    int g(int x) { static struct {} __key; warn_once("g"); outside(&__key); outside((void *)__func__); return take(x); }
  `);
  expect(outcome(diff)).toMatchObject({ redirected: [], refusals: [] });
  expect(diff.carried.filter((name) => /^(f|g)$/.test(name))).toEqual([]);
});

test("a changed function gets flags of its own for once-macros", async () => {
  const diff = await diffPatched(`
    #define warn_once(text) ({ static char __attribute__((section(".data.once"))) __already_done; if (!__already_done) { __already_done = 1; printk(text); } })
    int f(int x) {
    #ifdef PATCHED
      x += 4;
    #endif
      warn_once("f"); return take(x);
    }
  `);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried.map((name) => name.replace(/\.\d+$/, ""))).toEqual(["__already_done", "f"]);
  expect(diff.refusals).toEqual([]);
});

test("a second name that leads to another function is refused, though no code differs", async () => {
  const unit = (aliased: string): string =>
    `int slow(int x) { return take(x) + 1; } int safe(int x) { return take(x) + 2; } int entry(int) __attribute__((alias("${aliased}")));`;
  const same = await diffC(unit("slow"), unit("slow"));
  expect([same.refusals, same.redirected]).toEqual([[], []]);
  const moved = await diffC(unit("slow"), unit("safe"));
  expect(moved.refusals).toContain("ALIAS_MOVED entry");
  const edited = await diffC(unit("slow"), unit("slow").replace("+ 1", "+ 3"));
  expect([edited.refusals, edited.redirected]).toEqual([[], ["slow"]]);
});

test("a second name of a variable that leads to another is refused", async () => {
  const unit = (aliased: string): string =>
    `int first = 1, other = 1; extern int chosen __attribute__((alias("${aliased}"))); int f(int x) { return first + other + x; }`;
  expect((await diffC(unit("first"), unit("other"))).refusals).toContain("ALIAS_MOVED chosen");
});

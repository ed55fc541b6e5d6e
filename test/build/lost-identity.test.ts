import { describe, expect, test } from "vitest";
import { compareObjects } from "../../src/build/compare-objects.ts";
import type { UnitPlan } from "../../src/build/resolve/plan.ts";
import { goneCallbacks } from "../../src/build/warnings/gone-callbacks.ts";
import { refuseComparedCopies } from "../../src/diff/lost-identity/compared-addresses.ts";
import { refuseExchanged } from "../../src/diff/lost-identity/exchanged-names.ts";
import { refuseRenamedState } from "../../src/diff/lost-identity/renamed-state.ts";
import { diffPatched } from "../diff/diff-units.ts";
import { compileC } from "../fixtures/compile.ts";

async function planOf(source: string): Promise<UnitPlan> {
  const { original, patched, correlation, selection, changes } = await diffPatched(source, ["-g"]);
  const pair = { source: "unit.c", object: "vmlinux" };
  return { original, patched, correlation, selection, changes, pair } as unknown as UnitPlan;
}

describe("a variable that gets another name", () => {
  const source = (before: string, after: string): string => `
    #ifdef PATCHED
    static ${after};
    #define IT fresh
    #else
    static ${before};
    #define IT old
    #endif
    int add(int x) { IT += x; return IT; }
    int get(void) { return IT; }`;
  const refused = async (before: string, after: string): Promise<string[]> =>
    refuseRenamedState(await planOf(source(before, after))).map(({ what, why }) => `${what}: ${why.slice(0, 30)}`);

  test("is refused with both names", async () => {
    expect(await refused("long old", "long fresh")).toEqual(["fresh: it replaces old, which nothing"]);
    expect(await refused("long old = 3", "long fresh = 3")).toHaveLength(1);
  });

  test("is new where it has another size, type or memory", async () => {
    expect(await refused("long old", "int fresh")).toEqual([]);
    expect(await refused("double old", "long fresh")).toEqual([]);
    expect(await refused("long old = 3", "long fresh")).toEqual([]);
  });

  test("a variable that comes beside the old one is new", async () => {
    const plan = await planOf(`static long old;
      #ifdef PATCHED
      static long fresh;
      int add(int x) { fresh++; old += x; return old + fresh; }
      #else
      int add(int x) { old += x; return old; }
      #endif`);
    expect(refuseRenamedState(plan)).toEqual([]);
  });
});

describe("what exchanges its name with another", () => {
  const told = async (source: string): Promise<string[]> =>
    refuseExchanged(await planOf(source)).map(
      ({ what, why }) => `${what}: ${/with the patch (.*?) was before/.exec(why)?.[1]}`,
    );
  const uses = `
    extern int use(int *);
    int arm(int which) { return use(which ? &one : &two); }
    int disarm(int which) { int *at = which ? &one : &two; *at -= 1; return *at; }`;

  test("is refused where all code of two variables uses the other one", async () => {
    const source = `static int a, b;
    #ifdef PATCHED
    #define one b
    #define two a
    #else
    #define one a
    #define two b
    #endif
    ${uses}`;
    expect((await told(source)).sort()).toEqual(["a: this variable is what b", "b: this variable is what a"]);
  });

  test("three variables that go round are refused too", async () => {
    const found = await told(`static long a, b, c;
    #ifdef PATCHED
    int f(int x) { b += x; c -= x; a ^= x; return 3; }
    #else
    int f(int x) { a += x; b -= x; c ^= x; return 3; }
    #endif`);
    expect(found).toHaveLength(3);
  });

  test("a place that used the wrong one of two is mended", async () => {
    const found = await told(`static int a, b;
    int up(int x) { a += x; b++; return a; }
    #ifdef PATCHED
    int down(int x) { b -= x; a--; return 1; }
    #else
    int down(int x) { a -= x; b--; return 1; }
    #endif`);
    expect(found).toEqual([]);
  });

  const callbacks = `
    static int late(int x) { return take(x * 3) + 5; }
    static int early(int x) { return take(x - 9) ^ 7; }
    int setup(int x) { register_call(late); register_call(early); return x; }`;

  test("is refused where objects hold the addresses of two functions", async () => {
    const source = `extern int register_call(int (*)(int));
    #ifdef PATCHED
    #define late quick
    #define early slow
    #else
    #define late slow
    #define early quick
    #endif
    ${callbacks}`;
    expect((await told(source)).sort()).toEqual([
      "quick: this function is what slow",
      "slow: this function is what quick",
    ]);
  });

  test("is refused where a callback gets a new name and another one its old name", async () => {
    const found = await told(`extern int register_call(int (*)(int));
    #ifdef PATCHED
    static int show(int x) { return take(x - 9) ^ 7; }
    static int show_all(int x) { return take(x * 3) + 5; }
    int setup(int x) { register_call(show_all); register_call(show); return x; }
    #else
    static int show(int x) { return take(x * 3) + 5; }
    int setup(int x) { register_call(show); return x; }
    #endif`);
    expect(found).toEqual(["show: show_all is what this function"]);
  });

  test("functions that are only called may exchange theirs", async () => {
    const source = `
    #ifdef PATCHED
    #define late quick
    #define early slow
    #else
    #define late slow
    #define early quick
    #endif
    static noinline int late(int x) { return take(x * 3) + 5; }
    static noinline int early(int x) { return take(x - 9) ^ 7; }
    int both(int x) { return late(x) + early(x) * 2; }`;
    expect(await told(source)).toEqual([]);
  });

  test("functions that differ in a number alone, which moves on in all of them, are changed", async () => {
    const show = (name: string, at: number): string =>
      `static long ${name}(long *x) { take(x[${at}]); return take(x[${at} + OFFSET]) + 5; }`;
    const found = await told(`extern int register_call(long (*)(long *));
    #ifdef PATCHED
    #define OFFSET 1
    #else
    #define OFFSET 0
    #endif
    #define AT(n) (n + OFFSET)
    static long one(long *x) { return take(x[AT(20)] + 7) * 3; }
    static long two(long *x) { return take(x[AT(21)] + 7) * 3; }
    static long three(long *x) { return take(x[AT(22)] + 7) * 3; }
    ${show("other", 30)}
    int setup(int x) { register_call(one); register_call(two); register_call(three); register_call(other); return x; }`);
    expect(found).toEqual([]);
  });

  test("a function that becomes like another one is only changed", async () => {
    const found = await told(`extern int register_call(int (*)(int));
    static int same(int x) { return take(x * 3) + 5; }
    static int other(int x) {
    #ifdef PATCHED
      return take(x * 3) + 5;
    #else
      return take(x - 9) ^ 7;
    #endif
    }
    int setup(int x) { register_call(same); register_call(other); return x; }`);
    expect(found).toEqual([]);
  });
});

describe("a changed constant whose address is compared", () => {
  const table = `
    struct file { long pad[4]; const void *ops; };
    struct ops { int (*run)(int); int flag; };
    static int run(int x) { return take(x); }
    #ifdef PATCHED
    static const struct ops table = { run, 2 };
    #else
    static const struct ops table = { run, 1 };
    #endif`;
  const users = async (body: string): Promise<string[]> =>
    refuseComparedCopies(await planOf(`${table}\n${body}`)).map((found) => `${found.what} in ${found.function}`);

  test("with a member, with a value, through a register", async () => {
    expect(await users("int is(struct file *f) { return f->ops == &table; }")).toEqual(["table in is"]);
    expect(await users("int is(const void *ops) { if (ops != &table) return take(1); return 2; }")).toEqual([
      "table in is",
    ]);
    const twice = "int is(struct file *f, struct file *g) { return take(f->ops == &table) + (g->ops == &table); }";
    expect(await users(twice)).toEqual(["table in is"]);
  });

  test("by a function that takes back what was registered", async () => {
    const end = (name: string): string => `extern void ${name}(int, const struct ops *, int);
      void start(void) { register_table(1, &table, 2); }
      void end(void) { ${name}(1, &table, 2); }`;
    expect(await users(`extern void register_table(int, const struct ops *, int);${end("unregister_table")}`)).toEqual([
      "table in end",
    ]);
    // These look for a name that is in it.
    expect(
      await users(`extern void register_table(int, const struct ops *, int);${end("sysfs_remove_group")}`),
    ).toEqual([]);
  });

  test("one that is only read is carried", async () => {
    expect(await users("int is(int x) { return table.flag == x; }")).toEqual([]);
    expect(await users("int is(int x) { return table.run(x); }")).toEqual([]);
    // Also when the value is in a register before it is compared.
    const indexed = "int is(int n, void *p) { void *one = ((void *const *)&table)[n]; return one && p < one; }";
    expect(await users(indexed)).toEqual([]);
  });
});

describe("a function that is gone while its address may be held", () => {
  const source = (use: string): string => `
    struct work { void (*func)(struct work *); };
    #ifdef PATCHED
    static noinline void fresh(struct work *w) { take(2); }
    #define IT fresh
    #else
    static noinline void old(struct work *w) { take(1); }
    #define IT old
    #endif
    void setup(struct work *w) { ${use} }`;
  const told = async (use: string): Promise<string[]> =>
    goneCallbacks({ plan: await planOf(source(use)) }).map(({ code, function: name }) => `${code} ${name}`);

  test("is told", async () => expect(await told("w->func = IT;")).toEqual(["GONE_CALLBACK old"]));
  test("one that was only called is not", async () => expect(await told("IT(w); take(3);")).toEqual([]));
});

test("so is one whose elements are told by their distance from its beginning", async () => {
  const source = `
    #ifdef PATCHED
    #define FLAG 2
    #else
    #define FLAG 1
    #endif
    struct row { long a, b; };
    static const struct row rows[4] = { { 1, 2 }, { 3, FLAG }, { 5, 6 }, { 7, 8 } };
    extern const struct row *chosen;
    void choose(int i) { chosen = &rows[i]; }
    long index(void) { return chosen - rows; }`;
  const found = refuseComparedCopies(await planOf(source));
  expect(found.map(({ what, function: user }) => `${what} ${user}`)).toEqual(["rows index"]);
});

describe("a text whose address tells what may be freed", () => {
  // What a pointer that is never written stands for is the text itself, in the code of each function that names it.
  const source = (check: string): string => `
    struct zone { const char *name; int users; };
    void release(const void *);
    static const char *standard = "standard";
    int setup(struct zone *zone) {
      zone->name = standard;
    #ifdef PATCHED
      zone->users = 1;
    #endif
      return 0;
    }
    void end(struct zone *zone) { ${check} }`;
  const refused = async (check: string): Promise<string[]> =>
    refuseComparedCopies(await planOf(source(check))).map(({ what, function: user }) => `${what} ${user}`);

  test("is refused, though the function that compares it is not carried", async () => {
    expect(await refused("if (zone->name != standard) release(zone->name);")).toEqual(['"standard" end']);
  });
  test("one that is only read is not", async () => {
    expect(await refused("if (zone->name) release(standard);")).toEqual([]);
  });
});

test("kmend diff refuses both, without a kernel", async () => {
  const compare = async (source: string): Promise<string[]> => {
    const [before, after] = [compileC(source, ["-g"]), compileC(source, ["-g", "-DPATCHED"])];
    const input = { originalName: "a.o", patchedName: "b.o", object: "vmlinux", wantsExtract: false };
    return (await compareObjects(before, after, input)).result.refusals.map(({ code, what }) => `${code} ${what}`);
  };
  expect(
    await compare(`
      #ifdef PATCHED
      #define old fresh
      #endif
      static long old;
      int add(int x) { old += x; return old; }
      int get(void) { return old; }`),
  ).toEqual(["STATE_RENAMED fresh"]);
  expect(
    await compare(`
      struct file { long pad[4]; const void *ops; };
      #ifdef PATCHED
      #define FLAG 2
      #else
      #define FLAG 1
      #endif
      static const struct { int (*run)(int); int flag; } table = { take, FLAG };
      int is(struct file *f) { return f->ops == &table; }`),
  ).toEqual(["ADDRESS_COMPARED table"]);
});

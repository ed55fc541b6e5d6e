import { expect, test } from "vitest";
import { atom, diffC, diffPatched, type UnitDiff } from "./diff-units.ts";

/** Target of the only reference of `user` to a variable of that base, as `original count.3`. */
function variableOf(diff: UnitDiff, user: string, base: string): string[] {
  const from = atom(diff.patched, user);
  const routes = from.references.map((reference) => diff.selection.route(from, reference));
  const named = routes.flatMap((route) => ("atom" in route && route.atom.base === base ? [route] : []));
  return [...new Set(named.map((route) => `${route.to} ${route.atom.name}`))];
}

/** Name of the variable of that base that a function of the original unit uses. */
function inOriginal(diff: UnitDiff, user: string, base: string): string {
  const from = atom(diff.original, user);
  for (const { target } of from.references)
    if (target.kind === "atom" && target.atom.base === base) return target.atom.name;
  throw new Error(`${user} does not use ${base}`);
}

test("two static locals of one name keep their functions when the compiler numbers them the other way round", async () => {
  const f = "int f(int x) { static int count; outside(&count); return take(x) + BODY; }";
  const g = "int g(int x) { static int count; outside(&count); outside(&count); return take(x); }";
  const diff = await diffC(`#define BODY 1\n${f}\n${g}`, `#define BODY 22222\n${g}\n${f}`);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(variableOf(diff, "f", "count")).toEqual([`original ${inOriginal(diff, "f", "count")}`]);
  expect(diff.originalOf(atom(diff.patched, inOriginal(diff, "g", "count")).name)).toBeDefined();
});

test("a new static local of the same name in front of the others renumbers them, and changes nothing else", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    int first(int x) { static int count = 8; outside(&count); return take(x - 1); }
    #endif
    int f(int x) { static int count; outside(&count); return take(x); }
    int g(int x) { static int count; outside(&count); return take(x + 1); }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual([]);
  // `first` is new and global; its count has four bytes of content, the others have none.
  expect(diff.carried.map((name) => name.replace(/\.\d+$/, ""))).toEqual(["count", "first"]);
  expect(variableOf(diff, "first", "count")[0]).toMatch(/^inside count/);
});

test("two static locals of one name in one function are told apart by their place in it", async () => {
  const diff = await diffPatched(`
    int f(int x) {
    #ifdef PATCHED
      take(99);
    #endif
      if (x > 5) { static int seen; outside(&seen); take(x + 2); }
      if (x > 9) { static int seen; take(x); outside(&seen); }
      return 1;
    }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.carried).toEqual(["f"]);
  const order = (unit: typeof diff.original): string[] =>
    atom(unit, "f").references.flatMap(({ target }) =>
      target.kind === "atom" && target.atom.base === "seen" ? [target.atom.name] : [],
    );
  const expected = order(diff.original).map((name) => `original ${name}`);
  expect(expected).toHaveLength(2);
  expect(variableOf(diff, "f", "seen")).toEqual(expected);
});

test("a static local whose use moves into the cold part of its function stays the same", async () => {
  const diff = await diffPatched(`
    extern int complain(const char *) __attribute__((cold));
    int f(int x) {
      static int hits = 3;
      if (x == 77) {
    #ifdef PATCHED
        complain("bad"); outside(&hits);
        return take(4);
    #else
        outside(&hits); take(9);
    #endif
      }
      return take(x);
    }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried.every((name) => /^f(\.cold)?$/.test(name))).toBe(true);
  const users = diff.carried.flatMap((name) => variableOf(diff, name, "hits"));
  expect(users).toEqual([`original ${inOriginal(diff, "f", "hits")}`]);
});

test("a static local whose only user is another function is refused: it may be the same or a new one", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    static noinline int helper(int x) { static int hits = 3; outside(&hits); return take(x); }
    #else
    static inline __attribute__((always_inline)) int helper(int x) { static int hits = 3; outside(&hits); return take(x); }
    #endif
    int f(int x) { return helper(x) + 1; }
  `);
  expect(diff.refusals.map((refusal) => refusal.replace(/\.\d+$/, ""))).toEqual(["STATIC_LOCAL hits"]);
});

test("a static local that is gone leaves no new one behind, a new one of another name is carried", async () => {
  const diff = await diffPatched(`
    int f(int x) {
    #ifdef PATCHED
      static int fresh = 4; outside(&fresh);
    #else
      static int old = 4; outside(&old);
    #endif
      return take(x);
    }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.carried.map((name) => name.replace(/\.\d+$/, ""))).toEqual(["f", "fresh"]);
});

test("a static local of the name of one that another function lost is refused, as it may be that one", async () => {
  const diff = await diffPatched(`
    int f(int x) {
    #ifndef PATCHED
      static int count; outside(&count);
    #endif
      return take(x);
    }
    int g(int x) {
    #ifdef PATCHED
      static int count; outside(&count);
    #endif
      return take(x + 1);
    }
  `);
  expect(diff.refusals.map((refusal) => refusal.replace(/\.\d+$/, ""))).toEqual(["STATIC_LOCAL count"]);
});

test("a static local that changes its size is refused with both sizes", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define SIZE 8
    #else
    #define SIZE 4
    #endif
    int f(int x) { static char buffer[SIZE]; outside(buffer); return take(x); }
  `);
  expect(diff.refusals.map((refusal) => refusal.replace(/\.\d+$/, ""))).toEqual(["DATA_SIZE_CHANGED buffer"]);
});

test("compound literals of a table are paired by their place in it", async () => {
  const diff = await diffPatched(`
    struct item { int number; };
    #ifdef PATCHED
    struct item *others[] = { &(struct item){ 9 } };
    #endif
    struct item *items[] = { &(struct item){ 1 }, &(struct item){ 2 } };
    int f(int x) {
    #ifdef PATCHED
      x++;
    #endif
      outside(items[x]); return 0;
    }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried.filter((name) => name.startsWith("__compound_literal"))).toHaveLength(1);
});

test("variables of an empty type have an identity by their name only", async () => {
  const diff = await diffPatched(`
    struct lock_class_key { };
    #ifdef PATCHED
    int before(int x) { static struct lock_class_key __key; outside(&__key); return x; }
    #endif
    int f(int x) { static struct lock_class_key __key; outside(&__key); return take(x); }
    int g(int x) { static struct lock_class_key __key; outside(&__key); return take(x + 1); }
  `);
  expect(diff.redirected).toEqual([]);
  expect(diff.refusals).toEqual([]);
});

import { expect, test } from "vitest";
import { correlate } from "../../src/diff/correlate.ts";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { compileC } from "../fixtures/compile.ts";
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

/** Two counters of one name in the two branches of a function. */
const up = 'if (x > 0) { static long hits; hits += 2; printk("up %ld", hits); take(1); }';
const down = 'if (x <= 0) { static long hits; hits += 5; printk("down %ld", hits); take(2); }';
const counters = (first: string, second: string): string => `int f(int x) {\n${first}\n${second}\nreturn take(x);\n}`;

/** By text that a function prints with it, the variable that it uses right before. */
function byText(unit: UnitDiff["original"], user: string): Map<string, string> {
  const found = new Map<string, string>();
  let last = "";
  for (const { target } of atom(unit, user).references) {
    if (target.kind !== "atom") continue;
    if (target.atom.base === "hits") last = target.atom.name;
    if (target.atom.kind === "string") found.set(Buffer.from(target.atom.bytes).toString("latin1"), last);
  }
  return found;
}

test.each([
  ["without debug information", []],
  ["with it", ["-g"]],
])("two static locals of one name whose blocks change places are never exchanged, %s", async (_, flags) => {
  const diff = await diffC(counters(up, down), counters(down, up), flags);
  const [before, after] = [byText(diff.original, "f"), byText(diff.patched, "f")];
  expect([...before.keys()].sort()).toEqual([...after.keys()].sort());
  for (const [text, name] of after) {
    const known = diff.originalOf(name);
    if (known === undefined) expect(diff.refusals).toContain(`STATIC_LOCAL ${name}`);
    else expect(known).toBe(before.get(text));
  }
});

test("two of one name that nothing tells apart are refused when their order changes", async () => {
  const block = (condition: string): string => `if (${condition}) { static int seen; outside(&seen); }`;
  const diff = await diffC(counters(block("x > 5"), block("x == 2")), counters(block("x == 2"), block("x > 5")), [
    "-g",
  ]);
  expect(diff.refusals.map((refusal) => refusal.replace(/\.\d+$/, ""))).toEqual([
    "STATIC_LOCAL seen",
    "STATIC_LOCAL seen",
  ]);
});

test("the line of a declaration that the change leaves alone tells which is which", async () => {
  const block = (condition: string): string => `if (${condition}) { static int seen; outside(&seen); }`;
  const [original, patched] = [1, 2].map((number) =>
    compileC(counters(block("x > 5"), `${block("x == 2")} take(${number});`), ["-g"]),
  ) as [Uint8Array, Uint8Array];
  const [a, b] = [await readUnitObject(original), await readUnitObject(patched)];
  const pairs = correlate(a, b, (line) => line !== 99);
  const seen = a.atoms.filter(({ base }) => base === "seen");
  expect(seen).toHaveLength(2);
  for (const variable of seen) expect(pairs.patchedOf.get(variable)?.name).toBe(variable.name);
});

test("one variable of a name in two helpers that are inlined is not the other's", async () => {
  const helper = (name: string): string =>
    `static inline __attribute__((always_inline)) int ${name}(int x) { static int calls; outside(&calls); return x; }`;
  const caller = (name: string, more: string): string =>
    `${helper(name)} int f(int x) { return ${name}(x) + ${more}; }`;
  const renamed = await diffC(caller("first", "1"), caller("second", "2"), ["-g"]);
  expect(renamed.refusals.map((refusal) => refusal.replace(/\.\d+$/, ""))).toEqual(["STATIC_LOCAL calls"]);
  const kept = await diffC(caller("first", "1"), caller("first", "2"), ["-g"]);
  expect(kept.refusals).toEqual([]);
  expect(variableOf(kept, "f", "calls")).toEqual([`original ${inOriginal(kept, "f", "calls")}`]);
});

test.each([
  ["descriptor", "static int descriptor = 7;"],
  ["_rs", "static int _rs;"],
  ["__key", "static int __key;"],
  ["__warned", "static char __warned;"],
  ["___done", 'static char __attribute__((section(".data.once"))) ___done;'],
])("a variable named %s that is no macro's keeps its state", async (base, declaration) => {
  const diff = await diffPatched(`
    int f(int x) {
      ${declaration}
      outside(&${base});
    #ifdef PATCHED
      x += 9;
    #endif
      return take(x);
    }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.carried).toEqual(["f"]);
  expect(variableOf(diff, "f", base)).toEqual([`original ${inOriginal(diff, "f", base)}`]);
});

test.each([
  ["descriptor", 'static struct { long a[5]; } descriptor __attribute__((section("__dyndbg"))) = { { 1 } };'],
  ["_rs", "static struct { int lock, interval, burst, printed, missed; long begin, flags; } _rs = { 0, 5, 10 };"],
  ["__key", "static struct { long subkeys[2]; } __key;"],
  ["__warned", 'static char __attribute__((section(".data.unlikely"))) __warned;'],
  ["__already_done", 'static char __attribute__((section(".data..once"))) __already_done;'],
])("the %s of a macro comes anew with its function", async (base, declaration) => {
  const diff = await diffPatched(`
    int f(int x) {
      ${declaration}
      outside(&${base});
    #ifdef PATCHED
      x += 9;
    #endif
      return take(x);
    }
  `);
  expect(diff.refusals).toEqual([]);
  expect(variableOf(diff, "f", base)[0]).toMatch(/^inside /);
});

test("two messages of one size stay what they are when the change exchanges their uses", async () => {
  const one = 'if (take(a)) { static const char msg[] = "an entry with a group"; told->msg = msg; return -22; }';
  const two = 'if (take(b)) { static const char msg[] = "a group with an entry"; told->msg = msg; return -22; }';
  const f = (...parts: readonly string[]): string =>
    `struct told { const char *msg; };\nint f(struct told *told, int a, int b) { ${parts.join("\n")} return take(a); }`;
  const diff = await diffC(f(one, two), f(two, one));
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  const texts = (name: string): string => Buffer.from(atom(diff.patched, name).bytes).toString();
  for (const name of ["msg.0", "msg.1"]) {
    const original = diff.originalOf(name) ?? "";
    expect(Buffer.from(atom(diff.original, original).bytes).toString()).toBe(texts(name));
  }
});

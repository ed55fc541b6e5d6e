import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeUnitTypes } from "../../src/diff/layout/unit-btf.ts";
import { checkLayouts, compareWithTarget } from "../../src/diff/layout.ts";
import { Btf } from "../../src/kernel/types/btf.ts";
import { layoutUnits, using } from "./layout-units.ts";

const { root, compile, check, refused } = layoutUnits();

async function typesOf(source: string): Promise<Btf> {
  return new Btf(await encodeUnitTypes(compile(source), root), "vmlinux");
}

describe("a struct", () => {
  const struct = (members: string): string => using("struct s", `struct s { ${members} };`);
  const before = struct("int a; long b; unsigned f:3, g:5;");

  test.each<[string, string, string]>([
    ["grows", "int a; long b; unsigned f:3, g:5; long c; ", "its size changes from 24 to 32 bytes"],
    ["gets a member in padding", "int a; int new; long b; unsigned f:3, g:5;", "new is new at offset 4, in padding"],
    ["loses a member", "long b __attribute__((aligned(16))); unsigned f:3, g:5;", "a is gone from offset 0"],
    ["has a member moved", "long b; int a; unsigned f:3, g:5;", "b moves from offset 8 to offset 0"],
    [
      "has a wider bit field",
      "int a; long b; unsigned f:4, g:4;",
      "f changes from a bit field of 3 bits to a bit field of 4 bits",
    ],
    ["gets a bit field", "int a; long b; unsigned f:3, g:5, h:1;", "h is new at offset 17, bit 0, in padding"],
    [
      "has a bit field made whole",
      "int a; long b; unsigned f; unsigned g:5;",
      "f changes from a bit field of 3 bits to an ordinary member",
    ],
    [
      "has a bit field of another sign",
      "int a; long b; int f:3; unsigned g:5;",
      "f changes its type from unsigned int f:3 to int f:3",
    ],
    ["has a pointer for a number", "int a; void *b; unsigned f:3, g:5;", "b changes its type from long b to void *b"],
    [
      "has a member renamed",
      "int other; long b; unsigned f:3, g:5;",
      "other is new at offset 0, where live objects have a",
    ],
  ])("that %s is refused", async (_, members, difference) => {
    const [what, why] = (await refused(before, struct(members))) ?? [];
    expect(what).toBe("struct s");
    expect(why).toContain(difference);
  });

  test("is shown in both forms, the lines that differ with their neighbours", async () => {
    const many = "int a; int b; int c; int d; long e; int f; int g;";
    const [, why] = (await refused(struct(many), struct(many.replace("int d;", "char d, extra;")))) ?? [];
    expect(why?.split("\n").slice(1)).toEqual([
      "the kernel        with the patch",
      "…                 …",
      "     8  int c;         8  int c;",
      "    12  int d;  |     12  char d;",
      "                |     13  char extra;",
      "    16  long e;       16  long e;",
      "…                 …",
    ]);
  });

  test("that only changes names of types, qualifiers or signs is fine", async () => {
    const typedefs = `typedef int number; ${struct("const number a; volatile long b; unsigned f:3, g:5;")}`;
    expect(await check(before, typedefs)).toEqual({ refusals: [], notes: [] });
    const sign = await check(before, struct("unsigned a; long b; unsigned f:3, g:5;"));
    expect(sign.refusals).toEqual([]);
    expect(sign.notes).toEqual([expect.stringContaining("struct s: a is declared as unsigned int a and was int a")]);
  });

  test("that puts members into an unnamed struct where they were is fine", async () => {
    const grouped = await check(
      before,
      struct("union { struct { int a; long b; }; struct { int a; long b; } both; }; unsigned f:3, g:5;"),
    );
    expect(grouped.refusals).toEqual([]);
    expect(grouped.notes.join("\n")).toContain("a is now both.a, at the same place");
  });

  test("behind a pointer of another name is another type", async () => {
    const pointer = (name: string): string => struct(`struct ${name} *p;`);
    expect((await refused(pointer("one"), pointer("two")))?.[1]).toContain("from struct one *p to struct two *p");
    expect(await refused(pointer("one"), struct("void *p;"))).toBeUndefined();
  });

  test("that holds a changed one is named with it, not on its own", async () => {
    const nested = (more: string): string =>
      using(
        "struct outer",
        `struct inner { int a; ${more} }; struct middle { struct inner in[2]; }; struct outer { struct middle m; long z; };`,
      );
    const { refusals } = await check(nested(""), nested("long b;"));
    expect(refusals.map(({ what }) => what)).toEqual(["struct inner"]);
    expect(refusals[0]?.why).toContain("this moves parts of struct middle, struct outer too");
    const allowed = await check(nested(""), nested("long b;"), { allowed: ["inner", "struct middle"] });
    expect(allowed.refusals.map(({ what }) => what)).toEqual(["struct outer"]);
    expect(allowed.notes).toEqual([
      expect.stringMatching(/struct inner: accepted as --allow-layout says/),
      expect.stringMatching(/struct middle: accepted/),
    ]);
  });

  test("names the functions that use it, and a shadow variable as the way out", async () => {
    const { refusals } = await check(before, struct("int a; int new; long b; unsigned f:3, g:5;"));
    expect(refusals[0]?.why).toContain("(used by use)");
    expect(refusals[0]?.hint).toContain("klp_shadow_get_or_alloc(obj, ID, sizeof(*value), GFP_KERNEL, NULL, NULL);");
    expect(refusals[0]?.hint).toMatch(/before obj goes: +klp_shadow_free\(obj, ID, NULL\);\n--allow-layout/);
    expect(refusals[0]?.hint).toContain("--allow-layout s accepts");
  });

  test("without a name in another is compared through it, arrays too", async () => {
    const slots = (member: string): string =>
      struct(`struct { short key; ${member} } slots[4]; union { int x; char y[4]; };`);
    expect((await refused(slots("char used;"), slots("char used, dirty;")))?.[1]).toContain(
      "slots[].dirty is new at offset 3",
    );
    const wider = struct("struct { short key; char used; } slots[5]; union { int x; char y[4]; };");
    expect((await refused(slots("char used;"), wider))?.[1]).toContain("slots[4] to struct {…} slots[5]");
    const union = slots("char used;").replace("char y[4]", "short y[2]");
    expect((await refused(slots("char used;"), union))?.[1]).toContain(
      "y changes its type from char y[4] to short y[2]",
    );
  });

  test("that only a typedef names is compared under that name", async () => {
    const unnamed = (members: string): string => using("thing_t", `typedef struct { ${members} } thing_t;`);
    expect((await refused(unnamed("int a;"), unnamed("int a, b;")))?.[0]).toBe("thing_t");
  });
});

test("a struct that goes, and another in its place", async () => {
  const unit = (name: string, members: string): string =>
    `struct ${name} { ${members} };\nlong use(void *p);\nlong use(void *p) { return ((struct ${name} *)p)->a; }\n`;
  const before = unit("session", "int a;");
  const after = unit("session2", "long more, a;");
  const removed = new Set(["session"]);
  const [what, why] = (await refused(before, after, { removed })) ?? [];
  expect(what).toBe("struct session");
  expect(why).toContain("its definition is gone with the patch");
  expect(await refused(before, after, { removed, allowed: ["session"] })).toBeUndefined();
  expect(await refused(before, after)).toBeUndefined();
  expect((await refused(before, unit("session", "int a;").replaceAll("struct session", "union session")))?.[0]).toBe(
    "struct session",
  );
});

describe("a struct that is defined in a function", () => {
  const unit = (members: string, more = ""): string => `
void fill(void *);
int use(int n);
int use(int n) { struct pair { ${members} } pair; fill(&pair); ${more} return pair.a + n; }
`;

  test("may change: nothing keeps one", async () => {
    const { refusals, notes } = await check(unit("int a;"), unit("int a; long b;"));
    expect(refusals).toEqual([]);
    expect(notes).toEqual([expect.stringContaining("struct pair changes; only functions know it")]);
  });

  test("is refused when a variable keeps one", async () => {
    const kept = (members: string): string => unit(members, "static struct pair *last; fill(&last); last = &pair;");
    expect((await refused(kept("int a;"), kept("int a; long b;")))?.[0]).toBe("struct pair");
  });

  test("is refused when it is known outside", async () => {
    const outside = (members: string): string =>
      `struct pair { ${members} };\n${unit(members).replace(/struct pair \{[^}]*\}/, "struct pair")}`;
    expect((await refused(outside("int a;"), outside("int a; long b;")))?.[0]).toBe("struct pair");
  });
});

describe("types that are new", () => {
  const old = using("struct s", "struct late; struct s { struct late *p; };");
  const more = using("struct s", "struct late { int a; }; struct s { struct late *p; }; struct late late;");

  test("in this unit only are fine, also behind a forward declaration", async () => {
    expect(await check(old, more)).toEqual({ refusals: [], notes: [] });
    expect(await check(old, more, { target: await typesOf(old) })).toEqual({ refusals: [], notes: [] });
  });

  test("have to be the kernel's where it has them, unless the patch itself defines them", async () => {
    const same = await typesOf(more);
    const other = await typesOf(more.replace("int a;", "int a, b;"));
    expect(await refused(old, more, { target: same })).toBeUndefined();
    // The unit has pointers to the kernel's.
    const introduced = new Set(["late"]);
    expect((await refused(old, more, { target: other, introduced }))?.[0]).toBe("struct late");
    const unaware = using("struct s", "struct s { void *p; };");
    const aware = more.replace("struct late *p", "void *p");
    const private_ = await check(unaware, aware, { target: other, introduced });
    expect(private_.refusals).toEqual([]);
    expect(private_.notes).toEqual([expect.stringContaining("the kernel has another type of that name")]);
    expect((await refused(unaware, aware, { target: other }))?.[0]).toBe("struct late");
    expect((await refused(old, more, { target: other }))?.[1]).toContain("its size changes from 8 to 4 bytes");
  });
});

describe("an enum", () => {
  const named = (values: string): string => using("enum e", `enum e { ${values} };`);

  test.each<[string, string, string]>([
    ["a value changed", "A, NEW, B, LAST", "B changes from 1 to 2; LAST changes from 2 to 3"],
    ["a value taken over", "A, OTHER, LAST", "1 was B and is OTHER"],
    ["a wider type", "A, B, LAST, BIG = 0x100000000", "its size changes from 4 to 8 bytes"],
  ])("with %s is refused", async (_, values, difference) => {
    const [what, why] = (await refused(named("A, B, LAST"), named(values))) ?? [];
    expect(what).toBe("enum e");
    expect(why).toContain(difference);
  });

  test("may get values behind the others", async () => {
    const { refusals, notes } = await check(named("A, B"), named("A, B, C"));
    expect(refusals).toEqual([]);
    expect(notes).toEqual(["fs/unit.c: enum e: C = 2 is new: unpatched code does not know it"]);
  });

  test("without a name keeps the values of its constants", async () => {
    const constants = (values: string): string =>
      `enum { ${values} };\nint count(void); int count(void) { return LAST; }\n`;
    const [what, why] = (await refused(constants("A, LAST"), constants("A, B, LAST"))) ?? [];
    expect([what, why]).toEqual(["enum { A, … }", expect.stringContaining("LAST changes from 1 to 2")]);
    expect(await refused(constants("A, LAST"), constants("A, B, LAST"), { allowed: ["A"] })).toBeUndefined();
  });
});

describe("a variable", () => {
  const structs = "struct list { void *next, *prev; }; struct other { void *first; long n; };";
  const unit = (declaration: string, name = "live"): string =>
    `${structs}\n${declaration}\nvoid *use(void); void *use(void) { return (void *)&${name}; }\nvoid *more; struct list l; struct other o;`;

  test.each([
    ["struct list live;", "struct other live;", "from `struct list live` to `struct other live`"],
    ["static struct list live;", "static struct list *live[2];", "to `struct list *live[2]`"],
    ["static long live = 4;", "static void *live;", "from `long int live` to `void *live`"],
    ["extern struct list live;", "extern struct other live;", "from `struct list live` to `struct other live`"],
    ["int (*live)(int);", "int (*live)(long);", "from `int (*live)(int)` to `int (*live)(long int)`"],
    [
      "typedef long kept; kept live;",
      "typedef struct list *kept; kept live;",
      "from `long int live` to `struct list *live`",
    ],
    ["_Bool live[8];", "char live[8];", "from `_Bool live[8]` to `char live[8]`"],
  ])("%s that becomes %s is refused", async (before, after, difference) => {
    const [what, why] = (await refused(unit(before), unit(after))) ?? [];
    expect(what).toBe("live");
    expect(why).toContain(difference);
    expect(await refused(unit(before), unit(after), { allowed: ["live"] })).toBeUndefined();
  });

  test("that is static in a function counts too", async () => {
    const inside = (type: string): string =>
      unit(
        `static ${type} one; long step(void); long step(void) { static ${type} last; last = last + 1; return (long)last; }`,
        "one",
      );
    expect((await refused(inside("long"), inside("char *"), { allowed: ["one"] }))?.[1]).toContain(
      "in step() changes its type from `long int last` to `char *last`",
    );
  });

  test.each([
    ["static unsigned long live;", "static volatile long live;"],
    ["struct list *live;", "const void *live;"],
    ["static const int live[2] = {1, 2};", "static const int live[3] = {1, 2, 3};"],
    ['static const char *const live[] = {"a"};', 'static const char *const live[] = {"a", "b"};'],
    ["extern int live[];", "int live[4];"],
    ["struct list live;", "static struct list live; struct other fresh;"],
  ])("%s may become %s", async (before, after) => {
    expect((await check(unit(before), unit(after))).refusals).toEqual([]);
  });
});

describe("a unit without debug information", () => {
  test("is refused, since nothing can be told", async () => {
    const bare = compile("int a;", "-g0");
    const paths = { originalObject: bare, patchedObject: bare, unit: "fs/unit.c" };
    const { refusals } = await checkLayouts({ ...paths, allowed: [] });
    expect(refusals.map(({ code }) => code)).toEqual(["LAYOUT_UNKNOWN"]);
    expect((await checkLayouts({ ...paths, allowed: ["*"] })).refusals).toEqual([]);
    expect(readdirSync(root).filter((name) => name.includes(".btf"))).toEqual([]);
  });
});

test("types that the kernel has differently are evidence of another configuration", async () => {
  const source = (member: string): string =>
    using("struct s", `struct in { int a; ${member} }; struct s { struct in in; };`);
  const target = await typesOf(source(""));
  expect(await compareWithTarget(compile(source("")), target)).toEqual([]);
  expect(await compareWithTarget(compile(source("int configured;")), target)).toEqual([
    "struct in: its size changes from 4 to 8 bytes",
    "struct s: its size changes from 4 to 8 bytes",
  ]);
});

test("any set of members compares as equal with itself, and as different with one more", {
  timeout: 120_000,
}, async () => {
  const member = fc.constantFrom("char", "short", "int", "long", "unsigned char", "void *", "struct other *");
  const members = fc.array(member, { minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(members, fc.nat(12), async (types, place) => {
      const text = (list: readonly string[]): string =>
        using("struct s", `struct s { ${list.map((type, index) => `${type} m${index};`).join(" ")} };`);
      const before = compile(text(types));
      const same = { originalObject: before, patchedObject: compile(text(types)), unit: "u", allowed: [] };
      expect(await checkLayouts(same)).toEqual({ refusals: [], notes: [] });
      const at = Math.min(place, types.length);
      const grown = text(types).replace(
        at === types.length ? "};" : `${types[at]} m${at};`,
        (old) => `char added; ${old}`,
      );
      const { refusals } = await checkLayouts({ ...same, patchedObject: compile(grown) });
      expect(refusals.map(({ what }) => what)).toEqual(["struct s"]);
    }),
    { numRuns: 15 },
  );
});

test("the fixtures do have types", () => {
  expect(readFileSync(compile("int a;")).includes(".debug_info")).toBe(true);
});

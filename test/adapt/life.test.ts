import { describe, expect, test } from "vitest";
import { lifeOf, type TypeLife } from "../../src/adapt/life.ts";
import { FixtureOracle } from "./fixture-oracle.ts";

const head = `#include <linux/slab.h>
struct box { int first; struct box *next; char rest[]; };
`;

async function life(code: string, more: Readonly<Record<string, string>> = {}): Promise<TypeLife> {
  return lifeOf("box", "box.c", new FixtureOracle({ "box.c": `${head}${code}`, ...more }), new Map());
}

function told({ obstacles }: TypeLife): string[] {
  return obstacles.map(({ rule, line, function: name }) => `${rule} ${name} ${line}`);
}

describe("objects are created", () => {
  test("where an allocator gets the size of the type, of a variable or of what a member leads to", async () => {
    const found = await life(`struct box *make(struct box *p, gfp_t gfp)
{
	struct box *q = kzalloc(sizeof(*q), gfp);
	q->next = kmalloc(sizeof(*q->next), GFP_KERNEL);
	p->next = kmalloc(sizeof(struct box), GFP_KERNEL | __GFP_ZERO);
	p = kzalloc(struct_size(p, rest, 3), GFP_KERNEL);
	return kzalloc(sizeof(struct box) + 8, GFP_KERNEL);
}
void *other(void) { return kzalloc(sizeof(int), GFP_KERNEL); }
`);
    const creations = found.creations.map(
      ({ line, call, zeroes, function: name }) => `${name} ${line} ${call.name} ${zeroes}`,
    );
    expect(creations).toEqual([
      "make 5 kzalloc true",
      "make 6 kmalloc false",
      "make 7 kmalloc true",
      "make 8 kzalloc true",
      "make 9 kzalloc true",
    ]);
    expect(told(found)).toEqual([]);
  });

  test("in each unit that sees the type", async () => {
    const files = {
      "box.h": `${head}`,
      "a.c": '#include "box.h"\nstruct box *a(void) { return kzalloc(sizeof(struct box), 1); }\n',
      "b.c": '#include "box.h"\nvoid b(struct box *p) { kfree(p); }\n',
    };
    const found = await lifeOf("box", "box.h", new FixtureOracle(files), new Map());
    expect(found.creations.map(({ file }) => file)).toEqual(["a.c"]);
    expect(found.ends.map(({ file, call }) => `${file} ${call.name}`)).toEqual(["b.c kfree"]);
  });

  test("static ones by themselves", async () => {
    const found = await life(
      "static struct box one;\nstruct box *get(void) { static struct box two; return two.next ? &one : &two; }\n",
    );
    expect([...found.statics].sort()).toEqual(["one", "two"]);
    expect(told(found)).toEqual([]);
  });
});

test("objects end where a function that frees gets one, and not where it gets anything else", async () => {
  const found = await life(`void end(struct box *p, void *q)
{
	kfree(p->next);
	if (q)
		kfree(q);
	kfree_rcu(p, next);
	kfree(container_of(&p->next, struct box, next));
}
`);
  expect(found.ends.map(({ line, isLate }) => `${line} ${isLate}`)).toEqual(["5 false", "8 true", "9 false"]);
});

describe("what is not known to be harmless is told", () => {
  test.each([
    ["an object in another one", "struct outer { struct box in; };", "EMBEDDED  3"],
    ["an array", "static struct box many[3];", "ARRAY  3"],
    ["an element", "int f(struct box *p) { return p[2].first; }", "ARRAY f 3"],
    ["a step", "struct box *f(struct box *p) { return p + 1; }", "ARRAY f 3"],
    ["a step of the variable", "void f(struct box *p) { p++; }", "ARRAY f 3"],
    ["a variable on the stack", "int f(void) { struct box b; use(&b); return 0; }", "LOCAL_OBJECT f 3"],
    ["a compound literal", "void f(void) { use(&(struct box){ .first = 1 }); }", "LOCAL_OBJECT f 3"],
    ["an assignment", "void f(struct box *p, struct box *q) { *p = *q; }", "COPIED f 3"],
    ["a copy", "void f(struct box *p, struct box *q) { memcpy(p, q, sizeof(*p)); }", "SIZE_USED f 3"],
    ["a size that is kept", "size_t f(void) { return sizeof(struct box); }", "SIZE_USED f 3"],
    ["a size in a macro", "#define SIZE sizeof(struct box)\nsize_t f(void) { return SIZE; }", "SIZE_USED f 4"],
    ["a place in it", "void *f(int n) { return kmalloc(offsetof(struct box, rest) + n, 1); }", "SIZE_USED f 3"],
    ["a value", "int f(struct box b) { return b.first; }", "BY_VALUE  3"],
  ])("%s", async (_, code, obstacle) => {
    expect(told(await life(`${code}\n`))).toContain(obstacle);
  });

  test.each([
    ["a use of a member", "int f(struct box *p) { return p->first + (*p).first; }"],
    ["the outer object of a member", "struct box *f(void *p) { return container_of(p, struct box, next); }"],
    ["an object that is cleared", "void f(struct box *p) { memset(p, 0, sizeof(*p)); }"],
    ["a size that is checked", "void f(void) { BUILD_BUG_ON(sizeof(struct box) > 100); }"],
    ["sizes of others", "size_t f(struct box *p) { return sizeof(p) + sizeof(p->first) + sizeof(int[3]); }"],
  ])("but not %s", async (_, code) => {
    expect(told(await life(`${code}\n`))).toEqual([]);
  });
});

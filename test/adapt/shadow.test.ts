import { describe, expect, test } from "vitest";
import { rewriteShadow, type ShadowRewriting } from "../../src/adapt/shadow/rewrite.ts";
import { FixtureOracle } from "./fixture-oracle.ts";

const create = `struct box *make(gfp_t gfp)
{
	struct box *p;

	p = kzalloc(sizeof(*p), gfp);
	if (!p)
		return NULL;
	INIT
	return p;
}
`;
const end = "void end(struct box *p)\n{\n\tkfree(p);\n}\n";

interface Change {
  readonly member?: string;
  /** In make(), for a new object. */
  readonly init?: string;
  readonly code: string;
  readonly life?: string;
}

async function rewrite({
  member = "int limit;",
  init = "",
  code,
  life = create + end,
}: Change): Promise<ShadowRewriting> {
  const before = "#include <linux/slab.h>\n\nstruct box {\n\tint first;\n\tstruct box *next;\n};\n";
  const after = before.replace("\tint first;\n", `\tint first;\n\t${member}\n`);
  const patched = `${after}\n${life.replace("INIT", init)}\n${code}\n`;
  const oracle = new FixtureOracle({ "box.c": before });
  return rewriteShadow({
    tag: "box",
    definition: "box.c",
    original: before,
    patched: new Map([["box.c", patched]]),
    oracle,
  });
}

async function adapted(change: Change): Promise<string> {
  const { files, obstacles } = await rewrite(change);
  expect(obstacles).toEqual([]);
  return files.get("box.c") as string;
}

async function refused(change: Change): Promise<string[]> {
  const { obstacles, files } = await rewrite(change);
  expect(files.get("box.c")).not.toContain("klp_shadow");
  return [...new Set(obstacles.map(({ rule, function: name }) => `${rule} ${name}`.trim()))];
}

test("the struct is as the kernel has it, and objects have their values from creation to end", async () => {
  const text = await adapted({ code: "int get(struct box *p) { return p->limit; }" });
  expect(text).toContain("struct box {\n\tint first;\n\tstruct box *next;\n};\n");
  expect(text).toContain("#include <linux/slab.h>\n#include <linux/livepatch.h>\n");
  expect(text).toContain("\tp = kmend_box_new(kzalloc(sizeof(*p), gfp), gfp);\n");
  expect(text).toContain("\tkfree(kmend_box_end(p));\n");
  expect(text).toContain("{ return kmend_box_limit(p)->limit; }");
  expect(text).toMatch(/#define KMEND_BOX_LIMIT\t0x[0-9a-f]{16}UL\n/);
  expect(text).not.toContain("_rw(");
});

describe("a use", () => {
  const locked = (statement: string): string =>
    `void f(struct box *p, struct mutex *m)\n{\n\tmutex_lock(m);\n\t${statement}\n\tmutex_unlock(m);\n}`;
  test.each([
    [
      "p->next->limit",
      "use(p->next->limit + p->limit ? p : 0);",
      "use(kmend_box_limit(p->next)->limit + kmend_box_limit(p)->limit ? p : 0);",
    ],
    ["(*p).limit", "use((*p).limit ? p : 0);", "use(kmend_box_limit(&(*p))->limit ? p : 0);"],
    [
      "in a macro that reads",
      "use(READ_ONCE(p->limit) ? p : 0);",
      "use(READ_ONCE(kmend_box_limit(p)->limit) ? p : 0);",
    ],
    ["in a macro that writes", "WRITE_ONCE(p->limit, 3);", "WRITE_ONCE(kmend_box_limit_rw(p)->limit, 3);"],
    ["an assignment", "p->limit = 4;", "kmend_box_limit_rw(p)->limit = 4;"],
    ["a step", "p->limit++;", "kmend_box_limit_rw(p)->limit++;"],
    ["a step before it", "--p->limit;", "--kmend_box_limit_rw(p)->limit;"],
    ["an address", "use(&p->limit);", "use(&kmend_box_limit_rw(p)->limit);"],
    ["a bit operation", "use(p->first & p->limit ? p : 0);", "use(p->first & kmend_box_limit(p)->limit ? p : 0);"],
    ["a comparison", "if (p->limit == 3)\n\t\tuse(p);", "if (kmend_box_limit(p)->limit == 3)\n\t\tuse(p);"],
  ])("%s", async (_, statement, expected) => {
    expect(await adapted({ code: locked(statement) })).toContain(`\t${expected}\n`);
  });

  test("of an object that a use names", async () => {
    const text = await adapted({
      member: "struct box *owner;",
      code: "struct box *f(struct box *p) { return p->owner->owner; }",
    });
    expect(text).toContain("{ return kmend_box_owner(kmend_box_owner(p)->owner)->owner; }");
  });

  test("of an array, which is an address", async () => {
    const text = await adapted({
      member: "char label[8];",
      code: locked("use(p->label);\n\tuse(p->label[1] ? p : 0);"),
    });
    expect(text).toContain("use(kmend_box_label_rw(p)->label);\n\tuse(kmend_box_label(p)->label[1] ? p : 0);");
  });

  test("of a lock, which is initialised for older objects as for new ones", async () => {
    const code = "void f(struct box *p)\n{\n\tmutex_lock(&p->lock);\n\tuse(p);\n\tmutex_unlock(&p->lock);\n}";
    const { files, obstacles, assumptions } = await rewrite({
      member: "struct mutex lock;",
      init: "mutex_init(&p->lock);",
      code,
    });
    expect(obstacles).toEqual([]);
    const text = files.get("box.c") ?? "";
    expect(text).toContain("\tmutex_init(&shadow->lock);\n\treturn 0;\n");
    expect(text).toContain("kmend_box_lock_init, NULL)");
    expect(text).toContain("\tmutex_lock(&kmend_box_lock_rw(p)->lock);\n");
    expect(assumptions.map(({ text: said }) => said)).toContain(
      "mutex_lock() sleeps, so memory for lock can be waited for",
    );
  });

  test("of a value that new objects start with is that of older ones too", async () => {
    const text = await adapted({ init: "p->limit = 5;", code: "int f(struct box *p) { return p->limit; }" });
    expect(text).toContain("kmend_box_limit_initial = {\n\t.limit = 5,\n};");
    expect(text).toContain("\tshadow->limit = 5;\n");
    expect(text).toContain("\tkmend_box_limit_rw(p)->limit = 5;\n");
  });
});

describe("what is not sound is refused", () => {
  const read = "int get(struct box *p) { return p->limit; }";
  test.each<[string, Change, string]>([
    ["a write where the code may not sleep", { code: "void f(struct box *p) { p->limit = 1; }" }, "MAY_NOT_SLEEP"],
    [
      "a write behind a lock that spins",
      {
        code: "void spin_lock(int *);\nvoid f(struct box *p, struct mutex *m)\n{\n\tmutex_lock(m);\n\tspin_lock(&p->first);\n\tp->limit = 1;\n}",
      },
      "MAY_NOT_SLEEP f",
    ],
    [
      "a write where only one way has slept",
      { code: "void f(struct box *p, struct mutex *m)\n{\n\tif (m)\n\t\tmutex_lock(m);\n\tp->limit = 1;\n}" },
      "MAY_NOT_SLEEP f",
    ],
    ["a first value that depends on more", { init: "p->limit = gfp;", code: read }, "DEPENDS make"],
    ["a static initialiser", { code: `static struct box one = { .limit = 3 };\n${read}` }, "INITIALISER"],
    ["an offset", { code: "struct box *f(int *p) { return container_of(p, struct box, limit); }" }, "OFFSET f"],
    [
      "the body of a macro",
      { code: "#define LIMIT(p) ((p)->limit)\nint f(struct box *p) { return LIMIT(p); }" },
      "IN_MACRO f",
    ],
    ["objects that are never freed", { code: read, life: create }, "NO_END"],
    ["objects that nobody creates", { code: read, life: end }, "NO_CREATION"],
    [
      "objects that are freed late",
      { code: read, life: `${create}void end(struct box *p) { kfree_rcu(p, next); }\n` },
      "LATE_END end",
    ],
    [
      "objects of a device",
      {
        code: read,
        life: `${end}#include <linux/device.h>\nvoid *make(void *d) { return devm_kzalloc(d, sizeof(struct box), 1); }\n`,
      },
      "MANAGED make",
    ],
    [
      "an array of objects",
      { code: read, life: `${end}void *make(void) { return kcalloc(4, sizeof(struct box), 1); }\n` },
      "ARRAY make",
    ],
    [
      "an allocation that computes how",
      { code: read, life: `${create.replace("(*p), gfp", "(*p), take(gfp)")}${end}` },
      "GFP_COMPUTED make",
    ],
    ["an object in another one", { code: `struct outer { struct box in; };\n${read}` }, "EMBEDDED"],
    ["a copy", { code: `void f(struct box *p, struct box *q) { *p = *q; }\n${read}` }, "COPIED f"],
    [
      "an object that is cleared",
      { code: `void f(struct box *p) { memset(p, 0, sizeof(*p)); }\n${read}` },
      "CLEARED f",
    ],
    ["a bit field", { member: "unsigned int limit:3;", code: read }, "MEMBER_FORM"],
    ["several members in one declaration", { member: "int limit, other;", code: read }, "MEMBER_FORM"],
  ])("%s", async (_, change, rule) => {
    expect((await refused(change)).map((found) => found.slice(0, rule.length))).toContain(rule);
  });
});

import { describe, expect, test } from "vitest";
import { usedBeyondDeclarations } from "../../src/change/held-types.ts";
import { encodeUnitTypes } from "../../src/diff/layout/unit-btf.ts";
import { checkLayouts, compareWithTarget, type LayoutFindings } from "../../src/diff/layout.ts";
import { Btf } from "../../src/kernel/types/btf.ts";
import { layoutUnits } from "./layout-units.ts";

const { root, compile } = layoutUnits();

/** The findings for a source without and with the macro P, as a build asks for them. */
function check(source: string, target?: Btf): Promise<LayoutFindings> {
  const paths = { originalObject: compile(source), patchedObject: compile(source, "-DP") };
  const content = Buffer.from(source);
  const reached = usedBeyondDeclarations([{ path: "unit.c", original: content, patched: content }]);
  return checkLayouts({ ...paths, unit: "fs/unit.c", allowed: [], reached, target });
}

const members = `
#ifdef P
  int flags;
#endif
  int used; char buf[32];
`;
const begin = "struct file { void *private_data; }; extern void *kmalloc(unsigned long, int); extern int use(int);";
const cmd = (declaration: string, access: string): string => `${begin}
int cmd(struct file *f, int op) {
  ${declaration}
  if (op == 0) f->private_data = kmalloc(64, 0);
  return use(${access});
}`;

describe("a type that is defined in a function", () => {
  test.each([
    ["a pointer", `struct ctx { ${members} } *c = f->private_data;`, "c->buf[c->used++ & 31]", "struct ctx"],
    [
      "a cast",
      `struct ctx { ${members} } own; own.used = op;`,
      "((struct ctx *)f->private_data)->used + own.used",
      "struct ctx",
    ],
    [
      "its size",
      `struct ctx { ${members} } own; own.used = op; f->private_data = kmalloc(sizeof(struct ctx), 0);`,
      "own.used",
      "struct ctx",
    ],
    ["a pointer to its typedef", `typedef struct { ${members} } ctx; ctx *c = f->private_data;`, "c->used", "ctx"],
    ["a pointer, without a name", `struct { ${members} } *c = f->private_data;`, "c->buf[c->used++ & 31]", "c"],
    [
      "a pointer to what holds it",
      `struct ctx { ${members} }; struct outer { struct ctx c[2]; } *c = f->private_data;`,
      "c->c[1].used",
      "struct ctx",
    ],
  ])("and reached by %s is that of objects that live on", async (_, declaration, access, name) => {
    const { refusals, notes } = await check(cmd(declaration, access));
    expect(refusals.map(({ code, what }) => `${code} ${what}`)).toContain(`LAYOUT_CHANGED ${name}`);
    expect(notes.join()).not.toContain("outlives");
  });

  test("and is on the stack only may change", async () => {
    const stack = `struct ctx { ${members} } own; struct ctx more[2]; use((long)&own); more[1].used = op; f->private_data = more;`;
    const { refusals, notes } = await check(cmd(stack, "own.used + more[1].used"));
    expect(refusals).toEqual([]);
    expect(notes).toEqual([
      expect.stringContaining("struct ctx changes; only functions know it and hold it on their stacks"),
    ]);
  });

  test("and is an enum has values that may be kept anywhere", async () => {
    const source = cmd(
      "enum state { NEW,\n#ifdef P\nREADY,\n#endif\nOLD } s = *(int *)f->private_data;",
      "s == OLD ? 7 : op",
    );
    const { refusals } = await check(source);
    expect(refusals.map(({ what }) => what)).toEqual(["enum state"]);
  });
});

test("a number behind a typedef that changes its size is refused: pointers may lead to live ones", async () => {
  const source = `${begin}
#ifdef P
typedef unsigned long stamp;
#else
typedef unsigned int stamp;
#endif
int cmd(struct file *f) { stamp *s = f->private_data; return use(*s += 1); }`;
  const { refusals } = await check(source);
  expect(refusals).toMatchObject([{ code: "LAYOUT_CHANGED", what: "stamp" }]);
  expect(refusals[0]?.why).toContain("from unsigned int (4 bytes) to long unsigned int (8 bytes)");
  expect((await check(source.replace("typedef unsigned long", "typedef int"))).refusals).toEqual([]);
});

describe("what only the new code uses is held against the kernel's types", () => {
  const kernel = `
    typedef unsigned int stamp; stamp live;
    enum { FIRST = 1, SECOND = 2 }; int number(void) { return SECOND; }
    struct late { int a; int b; }; struct late late;
    void *use_all(stamp *s, struct late *l) { return s ? (void *)l : 0; }`;
  const types = async (): Promise<Btf> => new Btf(await encodeUnitTypes(compile(kernel), root), "vmlinux");

  test.each([
    ["a struct", "struct late { int b; int a; };", "struct late *l = f->private_data; op += l->a;", "struct late"],
    ["a number", "typedef unsigned long stamp;", "stamp *s = f->private_data; op += *s;", "stamp"],
    ["a constant", "enum { FIRST = 1, SECOND = 3 };", "op += SECOND;", "enum { FIRST, … }"],
  ])("%s", async (_, definition, statement, name) => {
    const source = (body: string): string =>
      `${begin}\n#ifdef P\n${body}\n#endif\nint cmd(struct file *f, int op) {\n#ifdef P\n${statement}\n#endif\nreturn use(op); }`;
    const { refusals } = await check(source(definition), await types());
    expect(refusals.map(({ what }) => what)).toEqual([name]);
    const same = kernel.split("\n").find((line) => line.includes(definition.slice(0, 6))) ?? "";
    expect((await check(source(same), await types())).refusals).toEqual([]);
  });

  test("and a number of the original, too", async () => {
    const own = compile("typedef unsigned long stamp; stamp *where; stamp get(stamp *s) { return *s; }");
    expect(await compareWithTarget(own, await types())).toEqual([
      "stamp: it is long unsigned int (8 bytes) and not unsigned int (4 bytes)",
    ]);
  });
});

test("the ways to a type are read from the text", () => {
  const content = Buffer.from(`
    struct plain { int a; } here, there;
    struct pointed { int a; } *p = 0;
    struct sized { int a; }; struct sized own; long n = sizeof(struct sized);
    struct member { int a; }; void *q = container_of(x, struct member, a);
    union held { int a; }; union held one;
    struct initialised { int *a; } it = { a * 2 };
  `);
  const found = usedBeyondDeclarations([{ path: "a.c", original: null, patched: content }]);
  expect([...found].sort()).toEqual(["member", "pointed", "sized"]);
});

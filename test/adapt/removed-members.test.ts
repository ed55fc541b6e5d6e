import { describe, expect, test } from "vitest";
import { adaptTypes } from "../../src/adapt/adapt-types.ts";
import type { Adaptation } from "../../src/adapt/adaptation.ts";
import { FixtureOracle } from "./fixture-oracle.ts";

const header =
  "#include <linux/slab.h>\n\nstruct box {\n\tint first; /* counts */\n\tint last;\n\tstruct box *next;\n};\n";

/** Adapts a patch that turns the header into another one and the unit into some code. */
function adapt(after: string, code: string): Promise<Adaptation> {
  const oracle = new FixtureOracle({ "box.h": header, "box.c": '#include "box.h"\n' });
  const type = { tag: "box", definition: "box.h", original: header };
  const units = { oracle, objects: new Map([["box.c", "vmlinux"]]) };
  const patched = new Map([
    ["box.h", after],
    ["box.c", `#include "box.h"\n${code}\n`],
  ]);
  return adaptTypes([{ ...type, units }], patched);
}

const without = (line: string): string => header.replace(`\t${line}\n`, "");
const rulesOf = ({ refusals }: Adaptation): string[] => refusals.map(({ why }) => why);

describe("a member that a patch removes", () => {
  test("stays in its place, and nothing else of the patch changes", async () => {
    const code = "int get(struct box *p) { return p->first; }";
    const adapted = await adapt(without("int last;"), code);
    expect(adapted.refusals).toEqual([]);
    expect(adapted.files.get("box.h")).toBe(header);
    expect(adapted.files.get("box.c")).toBe(`#include "box.h"\n${code}\n`);
    expect(adapted.parts).toEqual([{ what: "struct box: last", how: "stays where it is, unused" }]);
    expect(adapted.assumptions).toMatchObject([{ what: "struct box: last", file: "box.h", line: 3 }]);
  });

  test("stays with the others that go, and what else the header gets is kept", async () => {
    const after = without("int first; /* counts */").replace("\tint last;\n", "");
    const adapted = await adapt(`${after}int more(void);\n`, "struct box *f(struct box *p) { return p->next; }");
    expect(adapted.files.get("box.h")).toBe(`${header}int more(void);\n`);
    expect(adapted.parts.map(({ what }) => what)).toEqual(["struct box: first", "struct box: last"]);
  });

  test.each([
    ["a variable", "struct box one = { 1, NULL };"],
    ["a compound literal", "void f(struct box *p) { *p = (struct box) { 1, NULL }; }"],
    [
      "an element",
      "static struct box many[] = { { .first = 1 }, { 2, NULL } };\nint g(int i) { return many[i].first; }",
    ],
  ])("is refused where %s is initialised by the order of members", async (_, code) => {
    const adapted = await adapt(without("int last;"), code);
    expect(rulesOf(adapted)).toContainEqual(expect.stringContaining("POSITIONAL"));
    expect(adapted.files.get("box.h")).toBe(without("int last;"));
  });

  test("initialisers with names, and of zero, go by no order", async () => {
    const code =
      "struct box one = { .first = 1 };\nstatic struct box none = { 0 };\nint f(void) { return none.first; }";
    expect((await adapt(without("int last;"), code)).refusals).toEqual([]);
  });

  test.each([
    ["copied to another", "void f(struct box *to, struct box *from) { *to = *from; }", "COPIED"],
    ["measured", "void f(struct box *to, struct box *from) { memcpy(to, from, sizeof(*to)); }", "SIZE_USED"],
    [
      "an object of a function",
      "int f(void) { struct box one; one.first = 1; use(&one); return one.first; }",
      "LOCAL_OBJECT",
    ],
  ])("is refused where an object is %s", async (_, code, rule) => {
    expect(rulesOf(await adapt(without("int last;"), code)).join()).toContain(rule);
  });

  test("is refused where something else between the braces changes", async () => {
    const original = header.replace("\tint last;\n", "\tint last;\n#define BOX_LIMIT 4\n");
    const oracle = new FixtureOracle({ "box.h": original, "box.c": '#include "box.h"\n' });
    const units = { oracle, objects: new Map([["box.c", "vmlinux"]]) };
    const patched = new Map([["box.h", original.replace("\tint last;\n", "").replace("LIMIT 4", "LIMIT 5")]]);
    const adapted = await adaptTypes([{ tag: "box", definition: "box.h", original, units }], patched);
    expect(rulesOf(adapted).join()).toContain("more between the braces");
  });

  test("goes with no new one", async () => {
    const adapted = await adapt(header.replace("int last;", "long last;"), "int f(struct box *p) { return p->first; }");
    expect(rulesOf(adapted)).toContainEqual(expect.stringContaining("MEMBER_CHANGED"));
  });
});

test("a new member is refused too where an initialiser goes by the order of members", async () => {
  const after = header.replace("\tint last;\n", "\tint last;\n\tint limit;\n");
  const life = `struct box *make(void) { struct box *p = kzalloc(sizeof(*p), GFP_KERNEL); return p; }
void end(struct box *p) { kfree(p); }
struct box one = { 1, 2, 3, NULL };
int f(struct box *p) { return p->limit; }`;
  expect(rulesOf(await adapt(after, life))).toContainEqual(expect.stringContaining("POSITIONAL"));
});

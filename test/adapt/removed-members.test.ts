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
    expect(rulesOf(adapted)).toEqual([expect.stringContaining("POSITIONAL")]);
    expect(adapted.files.get("box.h")).toBe(without("int last;"));
  });

  test("initialisers with names, and of zero, go by no order", async () => {
    const code = "struct box one = { .first = 1 };\nvoid f(struct box *p) { struct box none = { 0 }; *p = none; }";
    expect((await adapt(without("int last;"), code)).refusals).toEqual([]);
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

import { expect, test } from "vitest";
import { diffPatched } from "./diff-units.ts";

/** A function whose inline assembly makes a row of a table. */
const row = (section: string, before: string, after: string, rest = ""): string => `
  #ifdef PATCHED
  #define ROW "${after}"
  #else
  #define ROW "${before}"
  #endif
  int f(int x) { asm volatile("1: nop\\n.pushsection ${section}\\n" ROW "\\n.popsection"); return take(x)${rest}; }`;

test.each([
  ["a number", '.mytab,\\"a\\"', ".quad 5", ".quad 6"],
  ["a number beside a place in the code", '.mytab,\\"a\\"', ".quad 1b, 5", ".quad 1b, 6"],
  ["another symbol", 'mytab,\\"aw\\"', ".quad 1b, take", ".quad 1b, printk"],
  ["a number under a name that sounds like code", 'my_context,\\"a\\"', ".quad 5", ".quad 6"],
  ["a row more", 'mytab,\\"aw\\"', ".quad 5", ".quad 5, 6"],
])("%s in a table that nothing refers to is refused", async (_, section, before, after) => {
  const diff = await diffPatched(row(section, before, after));
  expect(diff.refusals).toContain(`SECTION_CHANGED ${section.split(",")[0]}`);
});

test("the same rows are no change, wherever their code has moved", async () => {
  const same = await diffPatched(row('.mytab,\\"a\\"', ".quad 1b, 5", ".quad 1b, 5"));
  expect([same.refusals, same.redirected]).toEqual([[], []]);
});

test("constants without a name in ordinary sections are what their users make of them", async () => {
  expect((await diffPatched(row('.rodata,\\"a\\"', ".quad 5", ".quad 6"))).refusals).toEqual([]);
});

test("what a module says of itself is told", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    static const char alias[] __attribute__((used, section(".modinfo"))) = "alias=fs-new";
    #else
    static const char alias[] __attribute__((used, section(".modinfo"))) = "alias=fs-old";
    #endif`);
  expect(diff.changes.notes.join()).toContain("(+ alias=fs-new; - alias=fs-old)");
});

import { expect, test } from "vitest";
import { findChanges } from "../../src/diff/changes.ts";
import { diffPatched } from "./diff-units.ts";

const source = `
#ifdef PATCHED
#define step 3
#else
#define step 2
#endif
static inline __attribute__((always_inline)) int scale(int a) { return a * step + 1; }
__init int setup(int a) { return take(scale(a)); }
int later(int a) { return take(scale(a) + 7); }
`;

async function changesOf(isTextChanged: (name: string) => boolean, object = "vmlinux") {
  const { original, patched, correlation } = await diffPatched(source);
  const { functions, refusals, notes } = findChanges(original, patched, correlation, "unit.c", object, isTextChanged);
  return {
    functions: [...functions.keys()].map(({ name }) => name),
    refusals: refusals.map(({ code }) => code),
    notes,
  };
}

test("an init function that only got other inline code is a note", async () => {
  expect(await changesOf(() => false)).toEqual({
    functions: ["later"],
    refusals: [],
    notes: ["unit.c: setup ran at boot with the old code (.init.text), and the patch does not repeat it"],
  });
  expect((await changesOf(() => false, "zram")).notes).toEqual([
    "unit.c: setup ran when the module was loaded with the old code (.init.text), and the patch does not repeat it",
  ]);
});

test("an init function that the patch rewrites is refused", async () => {
  expect(await changesOf((name) => name === "setup")).toEqual({
    functions: ["later"],
    refusals: ["INIT_CODE"],
    notes: [],
  });
});

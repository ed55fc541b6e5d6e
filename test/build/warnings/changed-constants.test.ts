import { expect, test } from "vitest";
import type { UnitPlan } from "../../../src/build/resolve/plan.ts";
import { changedConstantUsers } from "../../../src/build/warnings/changed-constants.ts";
import { changedConstants } from "../../../src/change/constants.ts";
import { findChanges } from "../../../src/diff/changes.ts";
import { diffPatched } from "../../diff/diff-units.ts";

const unit = (bits: number, more = ""): string => `#define BITS ${bits}
#define MASK ((1 << BITS) - 1)
static int *table;
__attribute__((section(".init.text"))) void make_table(void) { table = allocate(4 << BITS); }
int put(int at, int x) { return table[at & MASK] = x; }
int get(int at) { ${more} return table[at & MASK]; }
`;

/** `macro: why` of each warning. @param rewritten functions whose text the change touches. */
async function warned(before: string, after: string, rewritten: readonly string[] = []): Promise<string[]> {
  const prelude = "extern int *allocate(int);\n";
  const source = `${prelude}#ifdef PATCHED\n${after}\n#else\n${before}\n#endif`;
  const { original, patched, correlation } = await diffPatched(source);
  const changes = findChanges(original, patched, correlation, "unit.c", "vmlinux", (name) => rewritten.includes(name));
  const plan = { changes, pair: { source: "unit.c", object: "vmlinux" } } as unknown as UnitPlan;
  const files = [{ path: "unit.c", original: Buffer.from(before), patched: Buffer.from(after) }];
  return changedConstantUsers({ plan }, changedConstants(files), new Set(rewritten)).map(
    ({ code, function: name, why }) => `${code} ${name}: ${why}`,
  );
}

test("a macro that sizes what ran at boot and bounds an index afterwards is told, with all who have it", async () => {
  expect(await warned(unit(7), unit(8))).toEqual([
    "CONSTANT_CHANGED BITS: make_table, put, get change only because of BITS (7, now 8); make_table ran with the old value and will not run again",
  ]);
});

test("a macro of one function, or of functions that the change rewrites, is its author's", async () => {
  expect(await warned(unit(7), unit(8), ["make_table", "put"])).toEqual([]);
});

test("functions that change for another reason are not told", async () => {
  expect(await warned(unit(7), unit(7, "take(at);"), ["get"])).toEqual([]);
});

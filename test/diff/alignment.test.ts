import { expect, test } from "vitest";
import { diffPatched } from "./diff-units.ts";

test("a variable or constant of which the new code may think that it is aligned further is refused", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define ALIGNED __attribute__((aligned(64)))
    #else
    #define ALIGNED
    #endif
    static int list ALIGNED = 4;
    const int row ALIGNED = 5;
    int f(int x) {
      list += x;
    #ifdef PATCHED
      return take(1 | (unsigned long)&list) + take((unsigned long)&row & 63);
    #endif
      return take((unsigned long)&list) + take((unsigned long)&row);
    }
  `);
  expect([...diff.refusals].sort()).toEqual(["DATA_ALIGNED list", "DATA_ALIGNED row"]);
  expect(diff.changes.refusals[0]?.why).toMatch(/aligns it to 4 bytes.*rely on 64$/);
});

test("a new variable that raises the alignment of a section says nothing of the others in it", async () => {
  const diff = await diffPatched(`
    #define READ_MOSTLY __attribute__((section(".data..read_mostly")))
    READ_MOSTLY int limit = 4;
    #ifdef PATCHED
    READ_MOSTLY long wide[4] __attribute__((aligned(32))) = { 1 };
    #endif
    int f(int x) {
    #ifdef PATCHED
      x += wide[x & 3];
    #endif
      return take(limit + x);
    }
  `);
  expect([diff.refusals, diff.redirected]).toEqual([[], ["f"]]);
});

test("a smaller alignment changes nothing for code that is there", async () => {
  const diff = await diffPatched(`
    #ifndef PATCHED
    __attribute__((aligned(64)))
    #endif
    int list = 4;
    int f(int x) {
    #ifdef PATCHED
      x++;
    #endif
      return list += x;
    }
  `);
  expect([diff.refusals, diff.redirected]).toEqual([[], ["f"]]);
});

import { expect, test } from "vitest";
import { sameLines } from "../../src/change/kept-lines.ts";

const file = (path: string, original: string, patched: string) => ({
  path,
  original: Buffer.from(original),
  patched: Buffer.from(patched),
});

test("lines that the patch takes out, and those that its own lines are numbered by, do not mean the same", () => {
  const isSame = sameLines([file("a.c", "a\nb\nc\nd\ne\nf", "a\nb\nnew\nnewer\nc\nd\nf")]);
  expect([1, 2, 3, 4, 5, 6, 7].map(isSame)).toEqual([true, true, false, false, false, true, true]);
});

test("a line has to mean the same in every changed file", () => {
  const isSame = sameLines([file("a.c", "a\nb", "a\nB"), file("b.h", "x\ny\nz", "x\ny\nZ"), file("c.txt", "q", "p")]);
  expect([1, 2, 3].map(isSame)).toEqual([true, false, false]);
});

import { expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import { atom } from "../diff/diff-units.ts";
import { compileC } from "../fixtures/compile.ts";
import { linkKernel } from "./linked-kernel.ts";

const shipped = ["-fno-function-sections", "-fno-data-sections"];

const weak =
  "int first(int x) { return take(x) + 1; } __attribute__((weak)) noinline int hook(int x) { return take(x) * 9; } int last(int x) { return hook(x) + 3; }";
const strong = "int other(int x) { return take(x) + 7; } int hook(int x) { return take(x) * 9; }";

test("a weak function that another unit overrides is not in the kernel, though the strong one has its bytes", async () => {
  const target = linkKernel([compileC(weak, shipped), compileC(strong, shipped)]);
  const unit = await readUnitObject(compileC(weak));
  const proof = await matchUnit(unit, target);
  expect(proof.isMatched(atom(unit, "hook"))).toBe(false);
  expect(proof.mismatchOf(atom(unit, "hook"))?.text).toBe(
    "hook is weak here, and the strong one of another unit is in force",
  );
  // Its caller calls the one in force.
  expect(proof.isMatched(atom(unit, "last"))).toBe(true);
  expect(proof.addressOf(atom(unit, "hook"))).toBe(target.addressOf("hook"));
});

test("of two weak functions with equal bytes only the one within its unit is proven", async () => {
  const second = weak.replaceAll("first", "third").replaceAll("last", "fourth");
  const target = linkKernel([compileC(weak, shipped), compileC(second, shipped)]);
  const [mine, others] = await Promise.all([weak, second].map((source) => readUnitObject(compileC(source))));
  if (mine === undefined || others === undefined) throw new Error("two units");
  expect((await matchUnit(mine, target)).isMatched(atom(mine, "hook"))).toBe(true);
  const proof = await matchUnit(others, target);
  expect(proof.isMatched(atom(others, "hook"))).toBe(false);
  expect(proof.mismatchOf(atom(others, "hook"))?.text).toContain("it is another unit's");
  expect(proof.isMatched(atom(others, "fourth"))).toBe(true);
});

test("a static is not taken for another unit's static of equal bytes", async () => {
  const helper = "static noinline int twin(int x) { return take(x) * 9; }";
  const target = linkKernel([
    compileC(`int a(int x) { return take(x) + 1; } int b(int x) { return take(x) + 2; }`, shipped),
    compileC("int between(int x) { return take(x) + 8; }", shipped),
    compileC(`${helper} int c(int x) { return twin(x) + 3; }`, shipped),
  ]);
  // In the kernel this unit has no twin; the source here is not quite the kernel's.
  const unit = await readUnitObject(
    compileC(
      `${helper} int a(int x) { return take(x) + 1; } int b(int x) { return take(x) + 2; } int d(int x) { return twin(x) + 4; }`,
    ),
  );
  const proof = await matchUnit(unit, target);
  expect(proof.isMatched(atom(unit, "a"))).toBe(true);
  expect(proof.isMatched(atom(unit, "twin"))).toBe(false);
  expect(proof.mismatchOf(atom(unit, "twin"))?.text).toContain("it is another unit's");
});

test("a kernel that is linked function by function keeps its proofs", async () => {
  const one =
    "int a(int x) { return take(x) + 1; } int b(int x) { return take(x) + 2; } static noinline int c(int x) { return take(x) * 5; } int d(int x) { return c(x) + 1; }";
  const two = "int m(int x) { return take(x) + 11; } int n(int x) { return take(x) + 12; }";
  // Sorted by name, functions of the two units alternate.
  const target = linkKernel(
    [compileC(one), compileC(two.replaceAll(" m(", " ab(").replaceAll(" n(", " bc("))],
    ["--sort-section=name"],
  );
  const unit = await readUnitObject(compileC(one));
  const proof = await matchUnit(unit, target);
  expect([...target.namesBetween(target.addressOf("a"), target.addressOf("b"))]).toContain("ab");
  for (const name of ["a", "b", "c", "d"]) expect(proof.isMatched(atom(unit, name))).toBe(true);
});

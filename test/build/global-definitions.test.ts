import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { judgeDefinitions, reasonsOfLoss } from "../../src/build/resolve/global-definitions.ts";
import { planUnit, resolveUnit, type UnitPlan } from "../../src/build/resolve/plan.ts";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import type { TargetObject } from "../../src/match/target-object.ts";
import { compileC } from "../fixtures/compile.ts";
import { linkKernel } from "../match/linked-kernel.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-definitions-"));
afterAll(() => rmSync(folder, { recursive: true }));

const shipped = ["-fno-function-sections", "-fno-data-sections"];

/** Plans of units, each given as its source without and with the patch, in a kernel that has them and `others`. */
async function plansOf(
  units: readonly (readonly [before: string, after: string])[],
  others: readonly string[] = [],
  object = "vmlinux",
): Promise<UnitPlan[]> {
  const sources = [...units.map(([before]) => before), ...others];
  const linked = linkKernel(sources.map((source) => compileC(source, shipped)));
  const target: TargetObject = object === "vmlinux" ? linked : Object.assign(linked, { name: object });
  const plans: UnitPlan[] = [];
  for (const [number, [before, after]] of units.entries()) {
    const patchedPath = join(folder, `${object}-${number}.o`);
    writeFileSync(patchedPath, compileC(after));
    const unit = await readUnitObject(compileC(before));
    const proven = { unit, proof: await matchUnit(unit, target) };
    const pair = { source: `unit${number}.c`, object, originalPath: patchedPath, patchedPath };
    plans.push(await planUnit(pair, target, proven, { entrySizes: {} }));
  }
  return plans;
}

function refusalsOf(plans: readonly UnitPlan[]): string[] {
  return judgeDefinitions(plans).refusals.map(({ code, what, where, why }) => `${code} ${what} ${where}: ${why}`);
}

const first = "int f(int x) { return take(x) + 1; }";
const second = "int g(int x) { return take(x) + 2; }";

test("what two units of the patch define cannot be linked", async () => {
  const fresh = "int fresh(int x) { return take(x) + 3; }";
  const plans = await plansOf([
    [first, `${first} ${fresh}`],
    [second, `${second} ${fresh}`],
  ]);
  expect(refusalsOf(plans)).toEqual([
    "DEFINITION_CHANGED fresh unit0.c: the patch defines it in unit1.c too",
    "DEFINITION_CHANGED fresh unit1.c: the patch defines it in unit0.c too",
  ]);
});

test("a definition beside the one that is in force is refused, whatever its binding", async () => {
  const strong = "int known(int x) { return take(x) + 4; }";
  const weak = `__attribute__((weak)) ${strong}`;
  const why = async (added: string, other: string): Promise<string[]> =>
    refusalsOf(await plansOf([[first, `${first} ${added}`]], [other]));
  expect(await why(strong, strong)).toEqual([
    "DEFINITION_CHANGED known unit0.c: another unit of vmlinux defines it, and the two could not be linked together",
  ]);
  expect(await why(strong, weak)).toEqual([
    "DEFINITION_CHANGED known unit0.c: vmlinux has a weak one, which is in use; its callers continue to call it",
  ]);
  expect(await why(weak, strong)).toEqual([
    "DEFINITION_CHANGED known unit0.c: vmlinux has a strong one, which stays in use",
  ]);
  // A static of that name is nobody else's business.
  const hidden = "static noinline int known(int x) { return take(x) + 4; } int h(int x) { return known(x) * 2; }";
  expect(await why(strong, hidden)).toEqual([]);
});

test("a weak definition that is in force may become strong in its own unit", async () => {
  const strong = "int hook(int x) { return take(x) + 4; }";
  const weak = `__attribute__((weak)) ${strong}`;
  expect(refusalsOf(await plansOf([[`${first} ${weak}`, `${first} ${strong}`]]))).toEqual([]);
  const overridden = await plansOf([[`${first} ${weak}`, `${first} ${strong}`]], [strong]);
  expect(refusalsOf(overridden)).toEqual([
    "DEFINITION_CHANGED hook unit0.c: another unit of vmlinux defines it, and the two could not be linked together",
  ]);
});

test("what moves to another object is refused, since its users stay where they are", async () => {
  const [from] = await plansOf([[`${first} ${second}`, first]]);
  const [to] = await plansOf(
    [["int m(int x) { return take(x) + 9; }", `int m(int x) { return take(x) + 9; } ${second}`]],
    [],
    "loop",
  );
  if (from === undefined || to === undefined) throw new Error("two plans");
  expect(refusalsOf([from, to])).toEqual([
    "DEFINITION_CHANGED g unit0.c: unit0.c has it in vmlinux, and users there keep that one",
  ]);
});

test("a function that moves is redirected from the place that its old unit proves", async () => {
  const moved = (more: string): string => `int moved(int x) { return take(x) + ${more}; }`;
  const plans = await plansOf([
    [`${first} ${moved("5")}`, first],
    [second, `${second} ${moved("6")}`],
  ]);
  const found = judgeDefinitions(plans);
  expect(found.refusals).toEqual([]);
  expect(found.lost).toEqual([]);
  const plan = found.plans[1];
  if (plan === undefined) throw new Error("two plans");
  const unit = resolveUnit(plan, {
    ...{ symvers: new Map(), newGlobals: new Map(), settled: new Map() },
    compiler: { same: true, kernel: "", here: "", program: "" },
  });
  expect(unit.refusals).toEqual([]);
  const address = plan.target.symbolsNamed("moved")[0]?.address;
  expect(unit.redirections.map(({ oldName, sympos, address: at }) => [oldName, sympos, at])).toEqual([
    ["moved", 0, address],
  ]);
});

test("statics that came along with a function that moved stay the kernel's", async () => {
  const body = (name: string, add: number): string =>
    `int ${name}(int x) { static int seen; static int other; seen += ${add}; outside(&seen); outside(&other); return take(seen); }`;
  const plans = await plansOf([
    [`${first} ${body("one", 1)} ${body("two", 2)}`, first],
    [second, `${second} ${body("one", 1)} ${body("two", 3)}`],
  ]);
  const { plans: joined } = judgeDefinitions(plans);
  const carried = joined[1]?.selection.atoms.map(({ base }) => base);
  // Each function's own `seen` is the kernel's, as its original refers to it.
  expect(carried?.filter((base) => base === "seen")).toEqual([]);
});

test("a name that is lost is told as what became of it", async () => {
  const plans = await plansOf([
    [`${first} ${second}`, `${first} static int __attribute__((used)) g(int x) { return take(x) + 2; }`],
    ["int level; int h(int x) { return take(level); }", "int h(int x) { return take(1); }"],
  ]);
  expect(Object.fromEntries(reasonsOfLoss(judgeDefinitions(plans).lost))).toEqual({
    "vmlinux g": "the patch makes it static in unit0.c",
    "vmlinux level": "the patch removes it from unit1.c",
  });
});

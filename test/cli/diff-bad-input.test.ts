import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { compileFor, machines, toolchain } from "../fixtures/arch/machines.ts";
import { assemble, compileC } from "../fixtures/compile.ts";
import { kmend } from "./captured.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-diff-bad-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

function stripped(name: string, bytes: Uint8Array, ...flags: string[]): string {
  const path = file(name, bytes);
  execFileSync("strip", [...flags, path]);
  return path;
}

const unit = (value: number): string => `
static int state;
static noinline int helper(int x) { state += x; return take(x) * ${value}; }
static int hidden(int x) { return take(x) + ${value}; }
struct ops { int (*call)(int); };
const struct ops table = { hidden };
int first(int x) { return helper(x) + 1; }
int second(int x) { return first(x) + helper(2); }
`;
const other = `
int open_it(int x) { return take(x); }
int close_it(int x) { return take(x) + 1; }
int second(int x) { return take(x) + 2; }
int read_it(int x) { return take(x) + 3; }
int write_it(int x) { return take(x) + 4; }
`;

async function outcome(before: string, after: string): Promise<{ outcome: string; code?: string; names: string[] }> {
  const { stdout } = await kmend("diff", before, after, "--json");
  const result = JSON.parse(stdout) as {
    outcome: string;
    error?: { code: string };
    changedFunctions?: { name: string }[];
  };
  const names = (result.changedFunctions ?? []).map(({ name }) => name).sort();
  return { outcome: result.outcome, ...(result.error && { code: result.error.code }), names };
}

const original = file("a.o", compileC(unit(3)));

test.each([
  ["another unit", () => file("b.o", compileC(other)), "DIFFERENT_UNITS"],
  [
    "a unit without a name in common",
    () => file("b.o", compileC("int alone(int x) { return take(x); }")),
    "DIFFERENT_UNITS",
  ],
  ["an object with nothing in it", () => file("b.o", assemble("")), "DIFFERENT_UNITS"],
  [
    "an object without symbols",
    () => stripped("b.o", compileC("int first(void) { return 3; }"), "--strip-all"),
    "STRIPPED",
  ],
])("%s is an error, whichever of the two it is", async (_, make, code) => {
  const odd = make();
  expect(await outcome(original, odd)).toEqual({ outcome: "failed", code, names: [] });
  if (odd.length > 0)
    expect(await outcome(odd, original)).toMatchObject({ outcome: expect.not.stringMatching("unchanged") });
});

test.skipIf(toolchain(machines.aarch64) === undefined)("an object of another architecture is an error", async () => {
  const crossed = file("b.o", compileFor(machines.aarch64, [], "int first(int x) { return x; }"));
  for (const [before, after] of [
    [original, crossed],
    [crossed, original],
  ] as const)
    expect(await outcome(before, after)).toEqual({ outcome: "failed", code: "DIFFERENT_MACHINES", names: [] });
});

const sections = ["-fno-function-sections", "-fno-data-sections"];

test("an object without a section for each function never hides a change", async () => {
  for (const [left, right] of [
    [sections, []],
    [[], sections],
    [sections, sections],
  ] as const) {
    const before = file("before.o", compileC(unit(3), left));
    const after = file("after.o", compileC(unit(5), right));
    const found = await outcome(before, after);
    expect(found.outcome).not.toBe("unchanged");
    if (found.outcome === "changed") expect(found.names).toEqual(expect.arrayContaining(["helper", "hidden"]));
  }
});

test("an object that lost some of its symbols never hides a change", async () => {
  const before = compileC(unit(3));
  const after = compileC(unit(5));
  for (const flags of [["--strip-unneeded"], ["--strip-debug"], ["--discard-all"]]) {
    const cut = stripped("cut.o", after, ...flags);
    const both = stripped("both.o", before, ...flags);
    for (const from of [file("before.o", before), both])
      expect((await outcome(from, cut)).outcome).not.toBe("unchanged");
  }
});

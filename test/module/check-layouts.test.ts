import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { encodeUnitTypes } from "../../src/diff/layout/unit-btf.ts";
import { explainUnproven } from "../../src/module/check-layouts.ts";
import type { UnitPair } from "../../src/module/unit-pairs.ts";
import { refuse } from "../../src/support/refusals.ts";
import { Btf } from "../../src/target/btf.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-evidence-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function compile(name: string, source: string): string {
  const path = join(folder, name);
  writeFileSync(`${path}.c`, source);
  execFileSync("gcc", ["-g", "-c", "-o", `${path}.o`, `${path}.c`]);
  return `${path}.o`;
}

test("a failed proof names the types that the kernel has differently", async () => {
  const originalPath = compile("here", "struct s { int a; int configured; } live;");
  const shipped = compile("kernel", "struct s { int a; } live;");
  const kernel = new Btf(await encodeUnitTypes(shipped, folder), "vmlinux");
  const pair: UnitPair = { source: "fs/unit.c", object: "vmlinux", originalPath, patchedPath: originalPath };
  const unproven = (where: string): ReturnType<typeof refuse> =>
    refuse("UNPROVEN_FUNCTION", "f", where, { difference: "byte 7 differs", cause: "3 of 9 functions match" });
  const refusals = [unproven("fs/unit.c: f+0x7"), unproven("fs/other.c: f+0x7"), refuse("ASSEMBLY", "a.S", "a.S")];
  const of = async (object: string): Promise<Btf | undefined> => (object === "vmlinux" ? kernel : undefined);
  const explained = await explainUnproven(refusals, [pair], { of }, { folder, signal: undefined });
  expect(explained.map(({ hint }) => hint).slice(0, 2)).toEqual([
    "3 of 9 functions match; types of this unit are not those of vmlinux: struct s: its size changes from 4 to 8 bytes",
    "3 of 9 functions match",
  ]);
  expect(explained[2]).toEqual(refusals[2]);
});

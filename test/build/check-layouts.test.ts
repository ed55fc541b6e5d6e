import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { explainUnproven, requireKernelTypes } from "../../src/build/check-layouts.ts";
import type { UnitPair } from "../../src/build/pairs/unit-pairs.ts";
import { encodeUnitTypes } from "../../src/diff/layout/unit-btf.ts";
import { Btf } from "../../src/kernel/types/btf.ts";
import { refuse } from "../../src/refusals/refusals.ts";

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
  const unproven = (unit: string): ReturnType<typeof refuse> =>
    refuse(
      "UNPROVEN_FUNCTION",
      "f",
      { unit, detail: "f+0x7" },
      { difference: "byte 7 differs", cause: "3 of 9 functions match" },
    );
  const refusals = [unproven("fs/unit.c"), unproven("fs/other.c"), refuse("ASSEMBLY", "a.S", "a.S")];
  const of = async (object: string): Promise<Btf | undefined> => (object === "vmlinux" ? kernel : undefined);
  const explained = await explainUnproven(refusals, [pair], { of }, { folder, signal: undefined });
  expect(explained.map(({ hint }) => hint).slice(0, 2)).toEqual([
    "3 of 9 functions match; types of this unit are not those of vmlinux: struct s: its size changes from 4 to 8 bytes",
    "3 of 9 functions match",
  ]);
  expect(explained[2]).toEqual(refusals[2]);
});

describe("a tree of the user's", () => {
  const limits = { jobs: 1, signal: undefined };
  const unit = "struct s { int a; int b; } live; int f(struct s *one) { return one->b; }";
  const holdAgainst = async (types: Uint8Array): Promise<void> => {
    const originalPath = compile("unit", unit);
    const of = async (): Promise<Btf> => new Btf(types, "vmlinux");
    await requireKernelTypes([{ source: "fs/unit.c", object: "vmlinux", originalPath }], { of }, "6.1.0", {
      ...limits,
      folder,
    });
  };

  test("has the types of the kernel", async () => {
    const types = await encodeUnitTypes(compile("same", unit), folder);
    await expect(holdAgainst(types)).resolves.toBeUndefined();
  });

  test("is refused when it has others", async () => {
    const types = await encodeUnitTypes(compile("other", unit.replace("int a;", "long a;")), folder);
    const why = expect.stringContaining("struct s: its size changes from 16 to 8 bytes");
    await expect(holdAgainst(types)).rejects.toMatchObject({ code: "IMAGE_OF_OTHER_CONFIG", where: "fs/unit.c", why });
  });

  test("is refused when those of the kernel are damaged, and nothing can be said", async () => {
    const types = await encodeUnitTypes(compile("damaged", unit), folder);
    await expect(holdAgainst(types.slice(0, 20))).rejects.toMatchObject({ code: "BTF_FORMAT" });
  });
});

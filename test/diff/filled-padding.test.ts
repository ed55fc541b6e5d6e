import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkLayouts, type LayoutFindings } from "../../src/diff/layout.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-padding-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function compile(name: string, members: string): string {
  const path = join(root, name);
  writeFileSync(
    `${path}.c`,
    `struct s { ${members} };\nvoid *use(struct s *p);\nvoid *use(struct s *p) { return p; }\nstruct s live;\n`,
  );
  execFileSync("gcc", ["-g", "-O1", "-ffunction-sections", "-c", "-o", `${path}.o`, `${path}.c`]);
  return `${path}.o`;
}

function check(before: string, after: string): Promise<LayoutFindings> {
  const [originalObject, patchedObject] = [compile("before", before), compile("after", after)];
  return checkLayouts({ originalObject, patchedObject, unit: "fs/unit.c", allowed: [] });
}

describe("new members that only take padding", () => {
  test.each<[string, string, string, readonly { name: string; offset: number }[] | undefined]>([
    ["are named", "char a; long b;", "char a; int x; long b;", [{ name: "x", offset: 4 }]],
    ["at the end too", "long b; char a;", "long b; char a; short x;", [{ name: "x", offset: 10 }]],
    ["unless the type grows", "char a; long b;", "char a; int x; long b; int y;", undefined],
    ["unless another one changes", "char a; int c; long b;", "char a; char x; char c[4]; long b;", undefined],
    ["unless bit fields are in the same word", "int f:3; long b;", "int f:3; int x; long b;", undefined],
    ["or are bit fields beside others", "int f:3; long b;", "int f:3, x:2; long b;", [{ name: "x", offset: 0 }]],
  ])("%s", async (_, before, after, filled) => {
    const findings = await check(before, after);
    expect(findings.refusals.map(({ what }) => what)).toEqual(["struct s"]);
    expect(findings.filled?.get("struct s")).toEqual(filled);
  });
});

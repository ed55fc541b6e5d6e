import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect } from "vitest";
import { checkLayouts, type LayoutFindings, type LayoutQuestion } from "../../src/diff/layout.ts";

export type More = Partial<Pick<LayoutQuestion, "target" | "allowed" | "introduced" | "removed">>;

/** What a file of tests compiles and compares, in a folder of its own that goes with the last of its tests. */
export function layoutUnits() {
  const root = mkdtempSync(join(tmpdir(), "kmend-layout-"));
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  let units = 0;

  /** Compiles a unit with debug information and gives its path. */
  function compile(source: string, ...flags: readonly string[]): string {
    const path = join(root, `unit${units++}`);
    writeFileSync(`${path}.c`, source);
    execFileSync("gcc", ["-g", "-O1", "-ffunction-sections", "-c", ...flags, "-o", `${path}.o`, `${path}.c`]);
    return `${path}.o`;
  }

  function check(original: string, patched: string, more: More = {}): Promise<LayoutFindings> {
    const paths = { originalObject: compile(original), patchedObject: compile(patched) };
    return checkLayouts({ ...paths, unit: "fs/unit.c", allowed: [], ...more });
  }

  /** The first refusal's name and reason; undefined when nothing is refused. */
  async function refused(original: string, patched: string, more: More = {}): Promise<[string, string] | undefined> {
    const { refusals } = await check(original, patched, more);
    const [first] = refusals;
    expect(refusals.length).toBeLessThan(2);
    return first === undefined ? undefined : [first.what, first.why];
  }

  return { root, compile, check, refused };
}

/** A unit whose code uses a type, so that the compiler describes it. */
export function using(type: string, definitions: string): string {
  return `${definitions}\nvoid *use(${type} *p);\nvoid *use(${type} *p) { return p; }\n${type} live;\n`;
}

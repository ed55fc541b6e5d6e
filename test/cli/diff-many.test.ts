import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Explanation } from "../../src/build/explain/explain.ts";
import { compileFor, type Machine, machines, toolchain } from "../fixtures/arch/machines.ts";
import { compileC, kernelPrelude } from "../fixtures/compile.ts";
import { kmend } from "./captured.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-diff-many-"));
const at = (name: string): string => join(folder, name);

/** @param shift empty lines before the functions. */
const unit = (shift: number, change: string): string => `
extern void __might_sleep(const char *, int);
#line 1 "unit.c"
${"\n".repeat(shift)}int sleeps(int x) { __might_sleep(__FILE__, __LINE__); return take(x) + 1; }
int changes(int x)
{
	if (x > 3)
		printk("big %d", x);
	${change}
	return take(x) + 2;
}
`;

beforeAll(() => {
  writeFileSync(at("a.o"), compileC(unit(0, ""), ["-g"]));
  writeFileSync(at("b.o"), compileC(unit(4, 'if (x < 0) return printk("negative");'), ["-g"]));
  writeFileSync(at("moved.o"), compileC(unit(9, ""), ["-g"]));
});

afterAll(() => rmSync(folder, { recursive: true }));

test("--batch compares all pairs of a list, each result in a line, whatever became of the others", async () => {
  writeFileSync(
    at("list"),
    [
      "# pairs",
      `${at("a.o")}\t${at("b.o")}  ${at("out.o")}`,
      "",
      `${at("a.o")} ${at("none.o")}`,
      `${at("a.o")} ${at("moved.o")}`,
    ].join("\n"),
  );
  const { exitCode, stdout, stderr } = await kmend("diff", "--batch", at("list"));
  expect(stderr).toBe("");
  expect(exitCode).toBe(1);
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines).toMatchObject([
    {
      pair: { original: at("a.o"), patched: at("b.o"), output: at("out.o") },
      schema: 1,
      outcome: "changed",
      changedFunctions: [{ name: "changes" }],
    },
    { pair: { original: at("a.o"), patched: at("none.o") }, outcome: "failed", error: { code: "FILE_MISSING" } },
    { outcome: "unchanged", movedLines: [{ name: "sleeps", lines: [[1, 10]] }] },
  ]);
  expect(existsSync(at("out.o"))).toBe(true);
});

test("--batch obeys the options of a single comparison, and a list of good pairs ends well", async () => {
  writeFileSync(at("list"), `${at("a.o")} ${at("moved.o")}\n`);
  const { exitCode, stdout } = await kmend("diff", "--batch", at("list"), "--lines", "strict");
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ outcome: "changed", changedFunctions: [{ name: "sleeps" }] });
});

test.each([
  ["a line of one word", "one.o\n", /line 1 of .* has 1 words/],
  ["a line of four words", "# pairs\na b c d\n", /line 2 of .* has 4 words/],
])("%s is no pair", async (_, text, message) => {
  writeFileSync(at("list"), text);
  const { exitCode, stdout, stderr } = await kmend("diff", "--batch", at("list"));
  expect([exitCode, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(message);
});

test.each([
  [["--batch", "list", "a.o", "b.o"], "--batch does not go with a.o"],
  [["a.o"], "missing required argument 'PATCHED.o'"],
  [[], "missing required argument 'ORIGINAL.o'"],
  [["a.o", "b.o", "--lines", "some"], "some"],
  [["a.o", "b.o", "--explain", "f", "-o", "x.o"], "--explain does not go with x.o"],
])("%j is wrong usage", async (args, message) => {
  const { exitCode, stderr } = await kmend("diff", ...args);
  expect(exitCode).toBe(2);
  expect(stderr).toContain(message);
});

async function explained(before: string, after: string, name: string, ...more: string[]): Promise<Explanation> {
  const { stdout } = await kmend("diff", at(before), at(after), "--explain", name, "--json", ...more);
  return JSON.parse(stdout) as Explanation;
}

test("--explain shows both builds of a function side by side, and where they begin to differ", async () => {
  const { rows, reason, original, patched } = await explained("a.o", "b.o", "changes");
  expect([original, patched, reason]).toEqual(["changes", "changes", expect.any(String)]);
  expect(rows.filter(({ isFirst }) => isFirst)).toHaveLength(1);
  const first = rows.findIndex(({ isFirst }) => isFirst);
  expect(rows.slice(0, first).every(({ difference }) => difference === "none")).toBe(true);
  expect(rows[0]?.original).toEqual({ offset: 0, text: "call __fentry__", symbols: [], line: "unit.c:3" });
  const calls = rows.flatMap(({ patched: side }) => side?.symbols ?? []);
  expect(calls).toContain('"negative"');
  const { exitCode, stdout } = await kmend("diff", at("a.o"), at("b.o"), "--explain", "changes");
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^differs: /);
  expect(stdout.split("\n").filter((line) => line.startsWith(">!"))).toHaveLength(1);
});

test("--explain tells a line that moved from a change", async () => {
  const moved = await explained("a.o", "moved.o", "sleeps");
  expect(moved.reason).toBeNull();
  expect(moved.rows.map(({ difference }) => difference).filter((each) => each !== "none")).toEqual(["line"]);
  const strict = await explained("a.o", "moved.o", "sleeps", "--lines", "strict");
  expect(strict.rows.filter(({ difference }) => difference === "changed")).toHaveLength(1);
  const { exitCode, stdout } = await kmend("diff", at("a.o"), at("moved.o"), "--explain", "sleeps");
  expect(exitCode).toBe(3);
  expect(stdout).toMatch(/^unchanged\n/);
});

test("--explain of a function that is nowhere says which are alike", async () => {
  const { exitCode, stderr } = await kmend("diff", at("a.o"), at("b.o"), "--explain", "change");
  expect(exitCode).toBe(2);
  expect(stderr).toContain("error[NO_FUNCTION]");
  expect(stderr).toContain("there is changes");
});

const crossed: readonly Machine[] = [machines.aarch64, machines.ppc64le, machines.s390x];

test.each(crossed.filter((machine) => toolchain(machine) !== undefined))(
  "--explain shows $name by the objdump of that machine",
  async (machine) => {
    const prelude = kernelPrelude.replace(/#line 1\n$/, "");
    writeFileSync(at("c.o"), compileFor(machine, ["-g"], prelude + unit(0, "")));
    writeFileSync(at("d.o"), compileFor(machine, ["-g"], prelude + unit(0, "x += 5;")));
    const { rows } = await explained("c.o", "d.o", "changes");
    const texts = rows.flatMap(({ patched }) =>
      patched === null ? [] : [`${patched.text} ${patched.symbols.join()}`],
    );
    expect(texts.some((text) => /\b(bl|brasl)\b.* take/.test(text) || /,take\b/.test(text))).toBe(true);
    expect(rows.filter(({ isFirst }) => isFirst)).toHaveLength(1);
  },
);

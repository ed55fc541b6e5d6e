import { expect, test } from "vitest";
import { findChanges } from "../../src/diff/changes.ts";
import { correlate } from "../../src/diff/correlate.ts";
import { compareDefinitions, type Definition, withMoves } from "../../src/diff/definitions.ts";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { compileC } from "../fixtures/compile.ts";
import { atom } from "./diff-units.ts";

async function pair(before: string, after: string) {
  const [original, patched] = await Promise.all([before, after].map((source) => readUnitObject(compileC(source))));
  if (original === undefined || patched === undefined) throw new Error("two units");
  return { original, patched, correlation: correlate(original, patched), ...compareDefinitions(original, patched) };
}

function names(definitions: readonly Definition[]): string[] {
  return definitions.map(({ name, isWeak }) => `${name}${isWeak ? " weak" : ""}`).sort();
}

test("what a unit defines for others is compared both ways, with its binding", async () => {
  const found = await pair(
    "int stays; int goes = 3; static noinline int was_static(int x) { return take(x); } int f(int x) { return was_static(x) + stays + goes; } __attribute__((weak)) int w(int x) { return x; }",
    "int stays; static int goes = 3; noinline int was_static(int x) { return take(x); } int f(int x) { outside(&goes); return was_static(x) + stays + goes; } int w(int x) { return x; } __attribute__((weak)) int fresh(int x) { return x; }",
  );
  expect(names(found.gained)).toEqual(["fresh weak", "was_static"]);
  expect(names(found.lost)).toEqual(["goes"]);
  expect(names(found.rebound)).toEqual(["w"]);
  expect([...found.kept].sort()).toEqual(["f", "stays", "w"]);
});

const callers = "extern int moved(int); int caller(int x) { return moved(x) + 1; }";
const helper = "static int count; static noinline int help(int x) { count += x; return take(count); }";

test("a function that moves with its static is the same one, and so is the static; its callers do not change", async () => {
  const body = "noinline __attribute__((noipa)) int moved(int x) { return help(x) + 2; }";
  const from = await pair(
    `${helper} ${body} int here(int x) { return moved(x); }`,
    "extern int moved(int); int here(int x) { return moved(x); }",
  );
  const to = await pair(callers, `${helper} ${body} ${callers.slice(callers.indexOf("int caller"))}`);
  const moves = [{ name: "moved", before: atom(from.original, "moved"), after: atom(to.patched, "moved") }];
  const shared = new Set(["moved", "here", "caller"]);
  const joined = withMoves(to.correlation, [from.correlation], moves, shared);
  expect(joined.originalOf.get(atom(to.patched, "moved"))).toBe(atom(from.original, "moved"));
  expect(joined.originalOf.get(atom(to.patched, "help"))).toBe(atom(from.original, "help"));
  expect(joined.originalOf.get(atom(to.patched, "count"))).toBe(atom(from.original, "count"));
  expect([...findChanges(to.original, to.patched, joined, "to.c", "vmlinux").functions.keys()]).toEqual([]);
  const left = withMoves(from.correlation, [], [], shared);
  expect([...findChanges(from.original, from.patched, left, "from.c", "vmlinux").functions.keys()]).toEqual([]);
});

test("a moved function that changes is the kernel's with another body", async () => {
  const from = await pair("int moved(int x) { return take(x) + 2; }", "int left;");
  const to = await pair(callers, `${callers} int moved(int x) { return take(x) + 3; }`);
  const moves = [{ name: "moved", before: atom(from.original, "moved"), after: atom(to.patched, "moved") }];
  const joined = withMoves(to.correlation, [from.correlation], moves, new Set(["moved"]));
  const original = { ...to.original, ftraceEntry: from.original.ftraceEntry };
  const change = findChanges(original, to.patched, joined, "to.c", "vmlinux").functions.get(atom(to.patched, "moved"));
  expect(change?.change).toBe("changed");
  expect(change?.redirected).toBe(true);
  expect(change?.original).toBe(atom(from.original, "moved"));
});

test("a variable that moves keeps its value, and a new initial value is refused", async () => {
  const from = await pair(
    "int level = 7; int f(int x) { return take(level + x); }",
    "extern int level; int f(int x) { return take(level + x); }",
  );
  const to = await pair("int g(int x) { return take(x); }", "int level = 8; int g(int x) { return take(x); }");
  const moves = [{ name: "level", before: atom(from.original, "level"), after: atom(to.patched, "level") }];
  const joined = withMoves(to.correlation, [from.correlation], moves, new Set(["level"]));
  const { refusals } = findChanges(to.original, to.patched, joined, "to.c", "vmlinux");
  expect(refusals.map(({ code, what }) => `${code} ${what}`)).toEqual(["DATA_CHANGED level"]);
});

import { expect, test } from "vitest";
import { type Marked, plainer, without } from "../../bench/replace/leave-out.ts";
import { variants } from "../../bench/replace/variants.ts";
import type { Refusal } from "../../src/refusals/refusals.ts";

const source = (name: string, first: number, calls: string) => ({
  ...{ name, first, last: first + 3 },
  text: `int ${name}(void)\n{\n\treturn ${calls};\n}`,
});
const everything = [source("inner", 1, "0"), source("outer", 6, "inner()"), source("other", 11, "1")];
const variant = (name: string) => variants.find((one) => one.name === name) as (typeof variants)[0];
const marks = (names: Readonly<Record<string, string>>): Marked[] =>
  Object.entries(names).map(([name, kind]) => ({
    where: everything.find((one) => one.name === name) as (typeof everything)[0],
    variant: variant(kind),
  }));
const refusal = (what: string, why = "because"): Refusal => ({
  ...{ code: "NOT_TRACEABLE", what, where: "", why, hint: "" },
});
const after = (marked: readonly Marked[], one: Refusal) => {
  const next = without(marked, [one], everything);
  return (
    next && [
      Object.fromEntries(next.marked.map(({ where, variant: { name } }) => [where.name, name])),
      next.left.map((left) => left.function),
    ]
  );
};

test.each([
  [
    "a function that is refused loses its mark",
    { inner: "marker", other: "frame" },
    refusal("inner"),
    [{ other: "frame" }, ["inner"]],
  ],
  [
    "one whose inlining was changed gets the base first",
    { inner: "apart", other: "marker" },
    refusal("inner.constprop.0"),
    [{ inner: "marker", other: "marker" }, []],
  ],
  [
    "what was inlined into a refused function loses its mark",
    { inner: "marker", other: "marker" },
    refusal("outer"),
    [{ other: "marker" }, ["inner"]],
  ],
  [
    "what a refusal of a variable names loses its mark",
    { inner: "marker", other: "marker" },
    refusal("state.67", "other uses a variable"),
    [{ inner: "marker" }, ["other"]],
  ],
  ["a refusal of something else ends it", { inner: "marker" }, refusal("state.67"), undefined],
] as const)("%s", (_, names, one, expected) => {
  expect(after(marks(names), one)).toEqual(expected);
});

test("functions that the compiler complains of get the base, and all if it is none of them", () => {
  const marked = marks({ inner: "frame", outer: "registers", other: "apart" });
  const names = (complaint: string) => plainer(marked, "a/b.c", complaint).map((one) => one.variant.name);
  expect(names("a/b.c:7:3: error: no")).toEqual(["frame", "marker", "apart"]);
  expect(names("include/x.h:7:3: error: no")).toEqual(["marker", "marker", "marker"]);
});

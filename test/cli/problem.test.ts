import { expect, test } from "vitest";
import { asKmendError, errorToJson, formatProblem } from "../../src/cli/report/problem.ts";
import { styleFor } from "../../src/cli/terminal/style.ts";
import { KmendError } from "../../src/support/errors.ts";

const plain = styleFor({}, {});

test("a problem has one line each for what, where, why and hint; further lines are indented", () => {
  const text = formatProblem(
    { kind: "error", code: "X_Y", message: "it broke", where: "a.c:1", why: "first\nsecond\n", hint: "do this" },
    plain,
  );
  expect(text).toBe("error[X_Y]: it broke\n  where: a.c:1\n  why: first\n       second\n  hint: do this\n");
});

test("empty and missing parts are left out", () => {
  const problem = { kind: "refused", code: "INIT_CODE", message: "f", where: "", why: undefined, hint: "h" } as const;
  expect(formatProblem(problem, plain)).toBe("refused[INIT_CODE]: f\n  hint: h\n");
});

test("a broken invariant is told as such, with exit code 1", () => {
  const error = asKmendError(new TypeError("x is not a function"));
  expect(error).toMatchObject({
    code: "INTERNAL",
    exitCode: 1,
    message: "kmend failed unexpectedly: x is not a function",
  });
});

test("the object of an error has all its fields", () => {
  expect(errorToJson(new KmendError({ code: "A", message: "b" }))).toEqual({
    schema: 1,
    outcome: "failed",
    error: { code: "A", message: "b", where: null, why: null, hint: null },
  });
});

test.each([
  [{ isTTY: true }, { TERM: "xterm" }, true],
  [{ isTTY: true }, { TERM: "xterm", NO_COLOR: "1" }, false],
  [{ isTTY: true }, { TERM: "xterm", NO_COLOR: "" }, true],
  [{ isTTY: true }, { TERM: "dumb" }, false],
  [{ isTTY: false }, { TERM: "xterm" }, false],
  [{}, { FORCE_COLOR: "1" }, true],
  [{ isTTY: true }, { FORCE_COLOR: "0" }, false],
])("colours on %j with %j: %s", (stream, env, coloured) => {
  expect(styleFor(stream, env)("red", "x") !== "x").toBe(coloured);
});

import { expect, test } from "vitest";
import { exchangedConstants } from "../../src/change/exchanged-constants.ts";

function told(before: string, after: string, path = "fs/flags.c"): string[] {
  const [original, patched] = [Buffer.from(before), Buffer.from(after)];
  return exchangedConstants([{ path, original, patched }]).map(
    ({ name, old, value, from }) => `${name}: ${old} -> ${value}, of ${from}`,
  );
}

const flags = "#define FLAG_A (1 << 30)\n#define FLAG_B (1 << 29) /* the other */\n#define LIMIT 5\n";

test("two that exchange their values are found, whatever spaces and comments stand beside", () => {
  const exchanged = "#define FLAG_A\t(1<<29)\n#define FLAG_B (1 << 30)\n#define LIMIT 5\n";
  expect(told(flags, exchanged)).toEqual([
    "FLAG_A: (1<<30) -> (1<<29), of FLAG_B",
    "FLAG_B: (1<<29) -> (1<<30), of FLAG_A",
  ]);
  expect(told(flags, exchanged, "Documentation/flags.rst")).toEqual([]);
});

test("one that takes the place of another that moves on is found too", () => {
  const moved = flags.replace("(1 << 30)", "(1 << 29)").replace("(1 << 29) /*", "(1 << 28) /*");
  expect(told(flags, moved)).toEqual(["FLAG_A: (1<<30) -> (1<<29), of FLAG_B"]);
});

test("a new value, a new macro and equal values of two are no exchange", () => {
  expect(told(flags, flags.replace("LIMIT 5", "LIMIT 6"))).toEqual([]);
  expect(told(flags, `${flags}#define OTHER 5\n`)).toEqual([]);
  expect(told("#define A 1\n#define B 2\n", "#define A 2\n#define B 2\n")).toEqual([]);
  expect(told("#define A 1\n#define B 2\n", "#define A 2\n#define B 3\n")).toEqual([]);
  expect(told("#define IT f\n#define OTHER g\n", "#define IT g\n#define OTHER f\n")).toEqual([]);
});

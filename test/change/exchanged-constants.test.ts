import { expect, test } from "vitest";
import { exchangedConstants } from "../../src/change/exchanged-constants.ts";

function told(before: string, after: string, path = "fs/flags.c"): string[] {
  const [original, patched] = [Buffer.from(before), Buffer.from(after)];
  return exchangedConstants([{ path, original, patched }]).map(
    ({ name, value, from }) => `${name}: ${value}, of ${from}`,
  );
}

const flags = "#define FLAG_A (1 << 30)\n#define FLAG_B (1 << 29) /* the other */\n#define LIMIT 5\n";

test("two that exchange their values are found, whatever spaces and comments stand beside", () => {
  const exchanged = "#define FLAG_A\t(1<<29)\n#define FLAG_B (1 << 30)\n#define LIMIT 5\n";
  expect(told(flags, exchanged)).toEqual(["FLAG_A: (1<<29), of FLAG_B", "FLAG_B: (1<<30), of FLAG_A"]);
  expect(told(flags, exchanged, "Documentation/flags.rst")).toEqual([]);
});

test("one that takes the place of another that moves on is found too", () => {
  const moved = flags.replace("(1 << 30)", "(1 << 29)").replace("(1 << 29) /*", "(1 << 28) /*");
  expect(told(flags, moved)).toEqual(["FLAG_A: (1<<29), of FLAG_B"]);
});

test("a new value, a new macro and equal values of two are no exchange", () => {
  expect(told(flags, flags.replace("LIMIT 5", "LIMIT 6"))).toEqual([]);
  expect(told(flags, `${flags}#define OTHER 5\n`)).toEqual([]);
  expect(told("#define A 1\n#define B 2\n", "#define A 2\n#define B 2\n")).toEqual([]);
  expect(told("#define A 1\n#define B 2\n", "#define A 2\n#define B 3\n")).toEqual([]);
  expect(told("#define IT f\n#define OTHER g\n", "#define IT g\n#define OTHER f\n")).toEqual([]);
});

test("a new flag that takes the value of one which moves on is found", () => {
  expect(told("#define F_A 0x1\n#define F_B 0x2\n", "#define F_A 0x1\n#define F_NEW 0x2\n#define F_B 0x8\n")).toEqual([
    "F_NEW: 0x2, of F_B",
  ]);
});

test("plain numbers that go round, or that a new name of their list moves on, are found", () => {
  const list = "#define ST_A 1\n#define ST_B 2\n#define ST_C 3\n";
  expect(told(list, "#define ST_A 2\n#define ST_B 3\n#define ST_C 1\n")).toEqual([
    ...["ST_A: 2, of ST_B", "ST_B: 3, of ST_C", "ST_C: 1, of ST_A"],
  ]);
  expect(told(list, "#define ST_A 1\n#define ST_NEW 2\n#define ST_B 3\n#define ST_C 4\n")).toEqual([
    "ST_NEW: 2, of ST_B",
  ]);
  expect(told(list, "#define ST_A 1\n#define OTHER 2\n#define ST_B 3\n#define ST_C 4\n")).toEqual([]);
});

test("enumerators that become macros with each other's numbers are found, and those that stay in an enum are not looked at", () => {
  const before = "enum {\n\toff = 0, /* first */\n\twait,\n\tblank,\n};\n";
  const macros = "#define off 0\n#define wait 2\n#define blank 1\n";
  expect(told(before, macros)).toEqual(["wait: 2, of blank", "blank: 1, of wait"]);
  expect(told(before, macros.replace("wait 2", "wait 1").replace("blank 1", "blank 2"))).toEqual([]);
  expect(told(macros, before)).toEqual(["wait: 1, of blank", "blank: 2, of wait"]);
  expect(told(before, "enum { off, blank, wait };\n")).toEqual([]);
});

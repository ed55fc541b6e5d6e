import { expect, test } from "vitest";
import { hintIn, optionOfBuild, refuse } from "../../src/refusals/refusals.ts";

const values = { problem: "its size changes", advice: "leave it", name: "seq_file" };

test("a refusal says what it is about in fields, and where in words", () => {
  const place = { unit: "fs/open.c", object: "vmlinux", function: "do_open", detail: "do_open+0x7" };
  const refusal = refuse("UNPROVEN_FUNCTION", "do_open", place, { difference: "byte 7", cause: "another source" });
  expect(refusal).toMatchObject({ unit: "fs/open.c", object: "vmlinux", function: "do_open" });
  expect(refusal.where).toBe("fs/open.c: do_open+0x7");
  expect(refusal).not.toHaveProperty("option");
  expect(refuse("ASSEMBLY", "entry", "arch/entry.S")).toMatchObject({ where: "arch/entry.S", unit: "arch/entry.S" });
  expect(refuse("ASSEMBLY", "entry", "")).not.toHaveProperty("unit");
});

test("the option that accepts it is data, and each program words it as its own", () => {
  const refusal = refuse("LAYOUT_CHANGED", "struct seq_file", "fs/seq_file.c", values);
  expect(refusal.option).toEqual({
    name: "allow-layout",
    value: "seq_file",
    effect: "accepts the change as it is",
  });
  expect(refusal.hint).toBe("leave it\n--allow-layout seq_file accepts the change as it is");
  expect(hintIn(refusal, optionOfBuild)).toBe(
    "leave it\nkmend build --allow-layout seq_file accepts the change as it is",
  );
  expect(hintIn(refusal, ({ name, value }) => `--${name}=${value}`)).toBe("leave it\n--allow-layout=seq_file");
  expect(hintIn(refuse("ASSEMBLY", "e", "e.S"), optionOfBuild)).toBe(refuse("ASSEMBLY", "e", "e.S").hint);
});

test("a text that lacks a value is a programming error", () => {
  expect(() => refuse("LAYOUT_CHANGED", "struct s", "a.c", { problem: "x", advice: "y" })).toThrow("{name}");
});

import { expect, test } from "vitest";
import type { ChangedFile } from "../../src/change/change-set.ts";
import { ownTextChanged } from "../../src/change/own-text.ts";

const text = `static inline int scale(int a)
{
	return a * 2;
}

static int __init early(void)
{
	return scale(1);
}

static int __init lamp_init(void)
{
	return scale(21) + early();
}

int lamp_level(int a)
{
	return scale(a);
}
MAKE_INIT(lamp_probe, scale);
`;

function change(from: string, to: string, path = "drivers/lamp.c"): ChangedFile {
  return { path, kind: "modified", original: Buffer.from(text), patched: Buffer.from(text.replace(from, to)) };
}

test("an inline function that an init function uses is not the text of that one", () => {
  const isChanged = ownTextChanged([change("a * 2", "a * 3")], "drivers/lamp.c");
  expect(["lamp_init", "early", "lamp_level", "scale"].map(isChanged)).toEqual([false, false, false, true]);
});

test("the text itself, and that of a helper which runs at boot only", () => {
  expect(ownTextChanged([change("scale(21)", "scale(22)")], "drivers/lamp.c")("lamp_init")).toBe(true);
  expect(ownTextChanged([change("scale(1)", "scale(2)")], "drivers/lamp.c")("lamp_init")).toBe(true);
});

test("what a macro makes in the unit's own file counts as changed", () => {
  const files = [change("a * 2", "a * 3")];
  expect(ownTextChanged(files, "drivers/lamp.c")("lamp_probe")).toBe(true);
  expect(ownTextChanged(files, "drivers/other.c")("other_init")).toBe(false);
});

test("a change elsewhere leaves a function alone", () => {
  expect(ownTextChanged([], "drivers/lamp.c")("lamp_init")).toBe(false);
});

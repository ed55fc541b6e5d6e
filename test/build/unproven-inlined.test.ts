import { expect, test } from "vitest";
import { unprovenInlined } from "../../src/build/resolve/unproven-inlined.ts";
import type { Atom } from "../../src/diff/atoms.ts";
import { inlinedFunctions } from "../../src/diff/inlined-functions.ts";
import { readUnitObject, type UnitObject } from "../../src/diff/unit-object.ts";
import { atom } from "../diff/diff-units.ts";
import { compileC } from "../fixtures/compile.ts";

const helpers = `
  static inline __attribute__((always_inline)) int half(int x) { return take(x) / 2; }
  static inline __attribute__((always_inline)) int twice(int x) { return half(x) + half(x + 1); }`;

const unit = (body: string): Promise<UnitObject> =>
  readUnitObject(compileC(`${helpers}\nint other(int x) { return half(x); }\nint f(int x) { ${body} }`, ["-g"]));

function found(original: UnitObject, patched: UnitObject, differing: readonly Atom[]): string[] {
  const pair = [atom(patched, "f"), atom(original, "f")] as const;
  return unprovenInlined({ original, patched }, [pair], differing).map(
    ({ user, inlined, witness }) => `${user} has ${inlined}, as ${witness.name} shows`,
  );
}

test("what is inlined is known at any depth", async () => {
  const { elf, ...rest } = await unit("return twice(x);");
  const inlined = inlinedFunctions({ elf, ...rest });
  expect([...(inlined.get("f") ?? [])].sort()).toEqual(["half", "twice"]);
  expect([...(inlined.get("other") ?? [])]).toEqual(["half"]);
});

test("code that comes into a function by inlining is refused when another function shows that it is not the kernel's", async () => {
  const [original, patched] = [await unit("return x;"), await unit("return twice(x);")];
  expect(found(original, patched, [atom(original, "other")])).toEqual(["f has half, as other shows"]);
  expect(found(original, patched, [])).toEqual([]);
});

test("what the original had inlined already is part of its own proof", async () => {
  const [original, patched] = [await unit("return half(x) + 2;"), await unit("return half(x) + 1;")];
  expect(found(original, patched, [atom(original, "other")])).toEqual([]);
});

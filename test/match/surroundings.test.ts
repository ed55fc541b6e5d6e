import { expect, test } from "vitest";
import { ModuleObject } from "../../src/match/module-object.ts";
import { surroundingsOf } from "../../src/match/surroundings.ts";
import { assemble } from "../fixtures/compile.ts";

/** A module with a call, a static branch and an alternative; names and a barrier are what a test varies. */
function module({ callee = "take", key = "key_a", barrier = "lfence" } = {}): ModuleObject {
  const file = assemble(`
    .text
    .globl f
    .type f, @function
    f: call ${callee}
    1: .byte 0x0f,0x1f,0x44,0x00,0x00
    2: .byte 0x0f,0x1f,0x00
    3: ret
    .size f, .-f
    .section __jump_table, "aw"
    .long 1b - ., 3b - .
    .quad ${key} - .
    .section .altinstr_replacement, "ax"
    4: ${barrier}
    .section .altinstructions, "a"
    .long 2b - ., 4b - .
    .word 86
    .byte 3, 3
  `);
  return new ModuleObject("some", file, "some.ko");
}

function around(target: ModuleObject): string[] {
  return surroundingsOf(target, target.symbolsNamed("f")[0]?.address ?? 0, 14).split("\n");
}

test("names relocations, entries of tables and the code of alternatives, with offsets in the function", () => {
  const target = module();
  const [text] = target.symbolsNamed("f");
  const at = (offset: number): string => `@${(text?.address ?? 0) + offset}`;
  const replacement = target.tableEntries(
    { table: ".altinstructions", bounds: ["", ""], noun: "", sizes: [12], place: { width: 4, isRelative: true } },
    undefined,
    text?.address ?? 0,
    (text?.address ?? 0) + 14,
  );
  const code = target.valueAt((replacement[0]?.at ?? 0) + 4, 4, true);
  expect(around(target)).toEqual([
    "1 take+-4",
    `__jump_table 5 ${"00".repeat(16)} 0 ${at(5)} 4 ${at(13)} 8 key_a+0`,
    `.altinstructions 10 000000000000000056000303 0 ${at(10)} 4 @${code?.kind === "address" ? code.address : ""} 0faee8`,
  ]);
});

test.each([
  ["another function that is called", { callee: "take2" }, 0],
  ["another key", { key: "key_b" }, 1],
  ["another barrier", { barrier: "mfence" }, 2],
])("%s changes its line, and the bytes of the code are equal", (_, change, line) => {
  const [one, other] = [module(), module(change)] as const;
  const bytes = [one, other].map((target) => target.bytesAt(target.symbolsNamed("f")[0]?.address ?? 0, 14));
  expect(bytes[0]).toEqual(bytes[1]);
  const differing = around(one).flatMap((text, at) => (text === around(other)[at] ? [] : [at]));
  expect(differing).toEqual([line]);
});

import { describe, expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import { ModuleObject } from "../../src/match/module-object.ts";
import type { TargetObject } from "../../src/match/target-object.ts";
import { assemble, compileC, link } from "../fixtures/compile.ts";
import { linkKernel } from "./linked-kernel.ts";

const shipped = ["-fno-function-sections", "-fno-data-sections"];

const macros = `
  #define WARNING(text, flags) ({ void *entry; asm volatile("lea 2f(%%rip), %0\\n1:\\n .pushsection __bug_table, \\"aw\\"\\n2: .long 1b - ., %c1 - ., 0\\n .word 7, " flags "\\n .org 2b + 16\\n .popsection" : "=r"(entry) : "i"(text)); complain(entry); })
  extern void complain(void *);
`;

/** Functions that are not proven, with the reason. */
async function mismatches(here: Uint8Array, target: TargetObject): Promise<string[]> {
  const unit = await readUnitObject(here, { __bug_table: 16 });
  const proof = await matchUnit(unit, target);
  return unit.atoms
    .filter((atom) => atom.kind === "function" && !proof.isMatched(atom))
    .map((atom) => `${atom.name}: ${proof.mismatchOf(atom)?.text}`);
}

describe("a warning that passes its own entry of the table:", () => {
  const body = (first: string, second: string): string =>
    `${macros} int f(long x) { ${first}; return take(x); } int g(long x) { ${second}; ${first}; return take(x) + 1; }`;
  const one = 'WARNING("one", "1")';
  const two = 'WARNING("two", "1")';

  test.each([
    ["an image", (source: string) => linkKernel([compileC(source, shipped)])],
    ["a module", (source: string) => new ModuleObject("some", link([compileC(source, shipped)], ["-r"]), "some.ko")],
  ])("in %s", async (_, target) => {
    const here = compileC(body(one, two));
    expect(await mismatches(here, target(body(one, two)))).toEqual([]);
    expect(await mismatches(here, target(body(one, 'WARNING("other", "1")')))).toEqual([
      expect.stringMatching(/^g: .*the text "two" is "othe" in the target/),
    ]);
    expect(await mismatches(here, target(body(one, 'WARNING("two", "3")')))).toEqual([
      expect.stringMatching(/^g: .*differs in byte 14 of its entry in __bug_table/),
    ]);
    expect(await mismatches(here, target(body(one, 'WARNING("two", "1"), complain(&take)')))).toHaveLength(1);
  });

  test("another entry of the same function is another one", async () => {
    const kernel = linkKernel([compileC(body(one, two), shipped)]);
    const place = kernel.addressOf("g");
    const code = kernel.bytesAt(place, 32) as Uint8Array;
    const lea = code.findIndex((byte, at) => byte === 0x48 && code[at + 1] === 0x8d) + 3;
    // The entries stand one behind the other.
    const moved = (code[lea] as number) + 16;
    expect(moved).toBeLessThan(256);
    const [found] = await mismatches(compileC(body(one, two)), kernel.with(place + lea, [moved]));
    expect(found).toMatch(/^g: refers to another entry of __bug_table in the target/);
    const [inside] = await mismatches(compileC(body(one, two)), kernel.with(place + lea, [moved - 12]));
    expect(inside).toMatch(/^g: refers to .* in the target and to an entry of __bug_table here/);
  });
});

describe("the cold part of a function whose padding moved with its address", () => {
  /** `f` has an aligned loop; its cold part jumps back into it, to a label, and `f` has the address of a second one. */
  const unit = (skipped: string, label: string, order: "cold first" | "cold last", other = "nop"): Uint8Array => {
    const cold = `
      .section .text.unlikely.f, "ax", @progbits
      .type f.cold, @function
      f.cold: mov $300, %edi
      call take
      test %eax, %eax
      js 6f
      jmp ${label}b
      6: jmp 5b
      .size f.cold, .-f.cold
    `;
    const hot = `
      .text
      .globl g
      .type g, @function
      g: ret
      .size g, .-g
      ${skipped}
      .balign 16
      .globl f
      .type f, @function
      f: push %rbx
      1: test %edi, %edi
      js f.cold
      jmp 4f
      2: .balign 64
      3: add $1, %ecx
      4: cmp $9, %ecx
      jne 3b
      ${other}
      5: pop %rbx
      ret
      .size f, .-f
      .globl h
      .type h, @function
      h: .skip 64, 0xfc
      .size h, .-h
    `;
    return assemble(order === "cold last" ? hot + cold : cold.replace(/(\w)b$/gm, "$1f") + hot);
  };

  test.each(["cold first", "cold last"] as const)("is proven, %s", async (order) => {
    const kernel = (label: string, other?: string): TargetObject =>
      linkKernel([unit(".skip 40, 0x90", label, order, other)]);
    expect(await mismatches(unit("", "4", order), kernel("4"))).toEqual([]);
    expect(await mismatches(unit("", "3", order), kernel("3"))).toEqual([]);
    // It jumps to the padding, which leads to the same place.
    expect(await mismatches(unit("", "2", order), kernel("3"))).toEqual([]);
  });

  test.each(["cold first", "cold last"] as const)("is not proven where it leads elsewhere, %s", async (order) => {
    const kernel = (label: string, other?: string): TargetObject =>
      linkKernel([unit(".skip 40, 0x90", label, order, other)]);
    for (const [here, there] of [
      ["3", "4"],
      ["4", "3"],
      ["1", "4"],
      ["4", "1"],
    ] as const)
      expect((await mismatches(unit("", here, order), kernel(there))).sort()).toEqual([
        expect.stringMatching(/^f.cold: /),
        expect.stringMatching(/^f: goes on in f.cold, where /),
      ]);
    // The function itself is another one.
    const found = await mismatches(unit("", "4", order), kernel("4", "ud2"));
    expect(found.some((text) => text.startsWith("f: "))).toBe(true);
  });
});

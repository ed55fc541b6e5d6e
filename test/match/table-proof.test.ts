import { describe, expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import { ModuleObject } from "../../src/match/module-object.ts";
import type { TargetObject } from "../../src/match/target-object.ts";
import { assemble, compileC, link } from "../fixtures/compile.ts";
import { linkKernel } from "./linked-kernel.ts";

const shipped = ["-fno-function-sections", "-fno-data-sections"];

/** Kernel-like macros; every number that a test varies is a macro. */
const macros = `
  #ifndef KEY
  #define KEY key_a
  #endif
  struct key { int v; };
  struct key key_a, key_b;
  static inline __attribute__((always_inline)) int branch(struct key *k, int likely) {
    asm goto("1: .byte 0x0f,0x1f,0x44,0x00,0x00\\n .pushsection __jump_table, \\"aw\\"\\n .balign 8\\n .long 1b - ., %l[yes] - .\\n .quad %c0 + %c1 - .\\n .popsection"
             : : "i"(k), "i"(likely) : : yes);
    return 0;
  yes: return 1;
  }
  #define ALTERNATIVE(old, length, feature, new) asm volatile("661: .byte " old "\\n662:\\n .pushsection .altinstructions, \\"a\\"\\n .long 661b - ., 663f - .\\n .word " feature "\\n .byte " length ", 664f - 663f\\n .popsection\\n .pushsection .altinstr_replacement, \\"ax\\"\\n663: " new "\\n664:\\n .popsection" ::: "memory")
  #define BUG(line, flags) asm volatile("1: ud2\\n .pushsection __bug_table, \\"aw\\"\\n2: .long 1b - ., 0\\n .word " line ", " flags "\\n .org 2b + 12\\n .popsection")
  #define HANDLED(type) asm volatile("1: mov (%0), %%eax\\n2:\\n .pushsection __ex_table, \\"a\\"\\n .balign 4\\n .long 1b - ., 2b - ., " type "\\n .popsection" : : "r"(x) : "eax")
`;

/** Functions of `here` that are not proven against `there` linked as a kernel, with the reason. */
async function mismatches(here: Uint8Array, target: TargetObject): Promise<string[]> {
  const unit = await readUnitObject(here, { ".altinstructions": 12 });
  const proof = await matchUnit(unit, target);
  return unit.atoms
    .filter((atom) => atom.kind === "function" && !proof.isMatched(atom))
    .map((atom) => `${atom.name}: ${proof.mismatchOf(atom)?.text}`);
}

/** The same source on both sides is proven, and with another body there it is not: what is said of it, in an image and in a module. */
async function differing(here: string, there: string): Promise<string[]> {
  const [ours, theirs] = [here, there].map((body) => `${macros}${body}`) as [string, string];
  for (const same of [ours, theirs]) {
    expect(await mismatches(compileC(same), linkKernel([compileC(same, shipped)]))).toEqual([]);
    expect(await mismatches(compileC(same), asModule(same))).toEqual([]);
  }
  const found = [
    ...(await mismatches(compileC(ours), linkKernel([compileC(theirs, shipped)]))),
    ...(await mismatches(compileC(ours), asModule(theirs))),
  ];
  return found;
}

function asModule(source: string): ModuleObject {
  return new ModuleObject("some", link([compileC(source, shipped)], ["-r"]), "some.ko");
}

/** `f` with something in it. */
const f = (statement: string): string => `int f(long x) { ${statement}; return take(x) + 1; }`;

describe("what a table says about a place is part of the function:", () => {
  test.each([
    [
      "the key of a static branch",
      "if (branch(&key_a, 0)) return 7",
      "if (branch(&key_b, 0)) return 7",
      /refers to key_b.* in the target and to key_a here/,
    ],
    [
      "its direction",
      "if (branch(&key_a, 0)) return 7",
      "if (branch(&key_a, 1)) return 7",
      /a static branch refers to /,
    ],
    [
      "the feature of an alternative",
      'ALTERNATIVE("0x0f,0x1f,0x00", "3", "86", "lfence")',
      'ALTERNATIVE("0x0f,0x1f,0x00", "3", "87", "lfence")',
      /an alternative differs in byte 8 of its entry/,
    ],
    [
      "its replacement",
      'ALTERNATIVE("0x0f,0x1f,0x00", "3", "86", "lfence")',
      'ALTERNATIVE("0x0f,0x1f,0x00", "3", "86", "mfence")',
      /an alternative has another replacement: its byte 2 is f0 in the target and e8 here/,
    ],
    [
      "what its replacement calls",
      'ALTERNATIVE("0xe8,0,0,0,0", "5", "86", "call take")',
      'ALTERNATIVE("0xe8,0,0,0,0", "5", "86", "call printk")',
      /has another replacement: it (refers to printk in the target and to take here|take is at )/,
    ],
    ["the type of an exception handler", 'HANDLED("3")', 'HANDLED("4")', /an exception handler differs in byte 8/],
    ["the flags of a warning", 'BUG("9", "2305")', 'BUG("9", "2307")', /a BUG\(\) or WARN\(\) differs in byte 10/],
    [
      "an entry that only the target has",
      'asm volatile(".byte 0x0f,0x1f,0x00")',
      'ALTERNATIVE("0x0f,0x1f,0x00", "3", "86", "lfence")',
      /the target has an alternative at \+0x[0-9a-f]+, and here is none/,
    ],
    [
      "an entry that only the original has",
      'ALTERNATIVE("0x0f,0x1f,0x00", "3", "86", "lfence")',
      'asm volatile(".byte 0x0f,0x1f,0x00")',
      /an alternative is not in the target/,
    ],
  ])("%s", async (_, here, there, text) => {
    const found = await differing(f(here), f(there));
    expect(found).toHaveLength(2);
    for (const each of found) expect(each).toMatch(text);
  });

  test("the line of a warning is for people", async () => {
    expect(await differing(f('BUG("9", "2305")'), f('BUG("11", "2305")'))).toEqual([]);
  });

  test("a barrier that only one of them has is no padding", async () => {
    const body = (barrier: string): string =>
      `extern int squares[]; int f(unsigned long i) { if (i >= 4) return -1; ${barrier}; return squares[i]; } int squares[4] = { 1 };`;
    const found = await differing(body(""), body('ALTERNATIVE("0x0f,0x1f,0x00", "3", "86", "lfence")'));
    expect(found).toHaveLength(2);
    const reverse = await differing(body('ALTERNATIVE("0x0f,0x1f,0x00", "3", "86", "lfence")'), body(""));
    expect(reverse).toHaveLength(2);
  });
});

test("the state of the unwinder is compared, whichever entries say it", async () => {
  const unit = (entries: string, states: string): Uint8Array =>
    assemble(`
      .text
      .globl f
      .type f, @function
      f: push %rbx
      1: pop %rbx
      2: ret
      .size f, .-f
      .section .orc_unwind_ip, "a"
      .long f - .
      ${entries}
      .section .orc_unwind, "a"
      .word 8, 0, 5
      ${states}
    `);
  const one = unit(".long 1b - .\n.long 2b - .", ".word 16, 0, 5\n.word 8, 0, 5");
  const fewer = unit(".long 1b - .", ".word 16, 0, 5");
  const other = unit(".long 1b - .\n.long 2b - .", ".word 24, 0, 5\n.word 8, 0, 5");
  const same = unit(".long 1b - .\n.long f + 1 - .\n.long 2b - .", ".word 16, 0, 5\n.word 16, 0, 5\n.word 8, 0, 5");
  for (const object of [
    (file: Uint8Array) => new ModuleObject("some", file, "some.ko"),
    (file: Uint8Array) => linkKernel([file]),
  ]) {
    expect(await mismatches(one, object(one))).toEqual([]);
    expect(await mismatches(one, object(same))).toEqual([]);
    expect(await mismatches(one, object(other))).toEqual([
      "f: its stack is unwound otherwise in the target (180000000500 instead of 100000000500)",
    ]);
    expect(await mismatches(one, object(fewer))).toEqual([
      "f: its stack is unwound otherwise in the target (100000000500 instead of 080000000500)",
    ]);
    expect(await mismatches(fewer, object(one))).toEqual([
      "f: its stack is unwound otherwise in the target (080000000500 instead of 100000000500)",
    ]);
  }
});

describe("padding before an aligned loop, which is as long as the function's address wants it,", () => {
  /** A function that jumps into a loop; `loop` is the state at its top, and `before` lies in front of the function. */
  const unit = (before: string, states: string): Uint8Array =>
    assemble(`
      .text
      .balign 64
      .globl g
      .type g, @function
      g: ${before}
      ret
      .size g, .-g
      .balign 16
      .globl f
      .type f, @function
      f: push %rbx
      1: jmp 4f
      2: .balign 64
      3: add $1, %ecx
      4: cmp $9, %ecx
      jne 3b
      pop %rbx
      5: ret
      .size f, .-f
      .globl h
      .type h, @function
      h: .skip 64, 0xfc
      .size h, .-h
      .section .orc_unwind_ip, "a"
      .long g - ., f - ., 1b - ., 2b - ., 3b - ., 5b - .
      .section .orc_unwind, "a"
      .word 8, 0, 5, 8, 0, 5
      ${states}
      .word 8, 0, 5
    `);
  const reached = ".word 16, 0, 5, 0, 0, 0, 16, 0, 5";
  const otherTop = ".word 16, 0, 5, 0, 0, 0, 24, 0, 5";

  test.each([
    ["has a state of its own on both sides", reached, reached, []],
    ["has one here only", reached, ".word 16, 0, 5, 16, 0, 5, 16, 0, 5", []],
    ["has one in the target only", ".word 16, 0, 5, 16, 0, 5, 16, 0, 5", reached, []],
    ["does not hide another state of the loop", reached, otherTop, ["(180000000500 instead of 100000000500)"]],
    [
      "does not hide one that goes on behind it",
      reached,
      ".word 16, 0, 5, 24, 0, 5, 24, 0, 5",
      ["(180000000500 instead of 000000000000)"],
    ],
  ])("%s", async (_, here, there, expected) => {
    const problems = async (object: Uint8Array): Promise<string[]> =>
      (await mismatches(object, linkKernel([moved]))).filter((text) => text.startsWith("f: "));
    const moved = unit(".skip 40, 0x90", there);
    // Padding of another length: the functions are held against each other instruction by instruction, and the first difference of bytes is told.
    expect(await problems(unit("", here))).toEqual(expected.map(() => expect.stringMatching(/^f: byte/)));
    expect(await problems(unit(".skip 40, 0x90", here))).toEqual(
      expected.map((states) => `f: its stack is unwound otherwise in the target ${states}`),
    );
  });
});

describe("what a function reaches is compared:", () => {
  test("the initial value of a variable", async () => {
    const body = (value: number): string =>
      `static int quota = ${value}; int f(int x) { quota -= x; return take(quota); }`;
    expect(await differing(body(10), body(100000))).toEqual(
      Array(2).fill(expect.stringMatching(/^f: quota differs at \+0x0: byte 0x0 is a0 in the target and 0a here$/)),
    );
    expect(await differing(body(0), body(3))).toHaveLength(2);
    expect(await differing(body(3), body(0))).toHaveLength(2);
  });

  test("a pointer that only one of them has in its data", async () => {
    const body = (pointer: string): string =>
      `int handler(int x) { return take(x); } static struct { int (*cb)(int); int n; } ops = { ${pointer}, 1 }; void f(void) { outside(&ops); }`;
    const found = await differing(body("0"), body("handler"));
    expect(found).toEqual([
      expect.stringMatching(/^f: ops differs at \+0x[0-3]: byte/),
      "f: ops differs at +0x0: refers to handler in the target and to nothing here",
    ]);
    expect(await differing(body("handler"), body("0"))).toHaveLength(2);
  });

  test("what the variable of a variable holds, round in a circle too", async () => {
    const body = (value: number): string =>
      `struct node { struct node *next; int value; }; static struct node b; static struct node a = { &b, 1 }; static struct node b = { &a, ${value} }; void f(void) { outside(&a); }`;
    expect(await differing(body(2), body(3))).toEqual(
      Array(2).fill(
        expect.stringMatching(/^f: a differs at \+0x0: b differs at \+0x8: byte 0x8 is 03 in the target and 02 here$/),
      ),
    );
  });

  test("the part that is out of line", async () => {
    const unit = (number: number): Uint8Array =>
      assemble(`
        .section .text.f, "ax", @progbits
        .globl f
        .type f, @function
        f: call take; test %eax, %eax; js f.cold; ret
        .size f, .-f
        .section .text.unlikely.f, "ax", @progbits
        .type f.cold, @function
        f.cold: mov $${number}, %edi; jmp take
        .size f.cold, .-f.cold
      `);
    expect(await mismatches(unit(300), linkKernel([unit(300)]))).toEqual([]);
    expect(await mismatches(unit(300), linkKernel([unit(301)]))).toEqual([
      "f: goes on in f.cold, where at +0x1 byte 0x1 is 2d in the target and 2c here",
      "f.cold: byte 0x1 is 2d in the target and 2c here",
    ]);
  });

  test("a name of a function that the target gives to another", async () => {
    const body = (aliased: string): string =>
      `int slow(int x) { return take(x) + 1; } int safe(int x) { return take(x) + 2; } int entry(int) __attribute__((alias("${aliased}")));`;
    const found = await differing(body("slow"), body("safe"));
    expect(found).toEqual(
      Array(2).fill(expect.stringMatching(/^slow: entry names safe.* in the target and a place in slow here$/)),
    );
  });

  test("code that goes on behind the end", async () => {
    const [ours, theirs] = ["", 'asm volatile("nop; incl %eax; ret")'].map(
      (more) => `
      asm(".globl f; .type f, @function; f: mov %edi, %eax; ret; ${more === "" ? "" : "incl %eax; ret"}; .size f, .-f");
    `,
    ) as [string, string];
    const found = await mismatches(compileC(ours), linkKernel([compileC(theirs)]));
    expect(found).toEqual(["f: ends here, and goes on in the target for 3 bytes"]);
  });
});

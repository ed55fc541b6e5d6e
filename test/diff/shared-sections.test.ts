import { expect, test } from "vitest";
import { atom, diffPatched } from "./diff-units.ts";

const names = (routes: string[]): string[] => routes.map((route) => route.replace(/^\S+ /, ""));

test("functions of one section that call each other are cut apart, and calls without relocation are seen", async () => {
  const diff = await diffPatched(`
    __sched noinline int first(int x) { return take(x); }
    __sched noinline int second(int x) { return first(x) + 1; }
    __sched int third(int x) {
    #ifdef PATCHED
      x = x * 7 + 1;
    #endif
      return first(x) + second(x);
    }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["third"]);
  expect(diff.carried).toEqual(["third"]);
  const routes = names(diff.routes("third"));
  expect(routes).toContain("original first-4");
  expect(routes).toContain("original second-4");
});

test("a function that grows moves those behind it, and they are unchanged", async () => {
  const diff = await diffPatched(`
    __sched noinline int first(int x) {
    #ifdef PATCHED
      take(x + 1); take(x + 2); take(x + 3);
    #endif
      return take(x);
    }
    __sched int second(int x) { return first(x) + 1; }
    __sched int third(int x) { return second(x) + first(x); }
  `);
  expect(diff.redirected).toEqual(["first"]);
  expect(diff.carried).toEqual(["first"]);
  expect(atom(diff.patched, "second").start).not.toBe(atom(diff.original, "second").start);
});

test("a call that another function of the section gets instead is a change", async () => {
  const diff = await diffPatched(`
    __sched noinline int one(int x) { return take(x); }
    __sched noinline int two(int x) { return take(x) * 3; }
    __sched int f(int x) {
    #ifdef PATCHED
      return two(x) + 1;
    #else
      return one(x) + 1;
    #endif
    }
  `);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.reason("f")).toBe("refers to two instead of one");
});

test("a changed function calls the new code of another changed one in its section", async () => {
  const diff = await diffPatched(`
    #ifdef PATCHED
    #define MORE 5
    #else
    #define MORE 6
    #endif
    __sched noinline int first(int x) { return take(x) + MORE; }
    __sched int second(int x) { return first(x) * MORE; }
  `);
  expect(diff.redirected).toEqual(["first", "second"]);
  expect(names(diff.routes("second"))).toContain("inside first-4");
});

test("a tail call within the section that the assembler made a short jump is a reference too", async () => {
  const diff = await diffPatched(`
    __sched noinline int first(int x) { return take(x); }
    __sched int second(int x) { return first(x + 1); }
    #ifdef PATCHED
    __sched noinline int other(int x) { return take(x) * 3; }
    #endif
  `);
  expect(diff.redirected).toEqual([]);
  const [jump] = atom(diff.original, "second").references.filter(({ implicit }) => implicit);
  expect(jump?.target).toMatchObject({ kind: "atom", atom: { name: "first" } });
});

test("a changed function with a short jump to another one of its section is refused", async () => {
  const diff = await diffPatched(`
    __sched noinline int first(int x) { return take(x); }
    __sched int second(int x) {
    #ifdef PATCHED
      x += 5;
    #endif
      return first(x + 1);
    }
  `);
  expect(diff.redirected).toEqual(["second"]);
  expect(diff.refusals).toEqual(["SHORT_BRANCH second"]);
  expect(diff.selection.refusals[0]?.why).toContain("short jump to first in the same section .sched.text");
});

test("variables of one section are cut apart, a new one between them is no change of the others", async () => {
  const diff = await diffPatched(`
    #define mostly_read __attribute__((section(".data..read_mostly")))
    static mostly_read int one = 1;
    #ifdef PATCHED
    static mostly_read int between = 9;
    #endif
    static mostly_read int two = 2;
    int f(int x) {
    #ifdef PATCHED
      x += between; outside(&between);
    #endif
      outside(&one); outside(&two);
      return take(x);
    }
    int g(int x) { outside(&two); return take(x); }
  `);
  expect(diff.refusals).toEqual([]);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried).toEqual(["between", "f"]);
  const routes = names(diff.routes("f"));
  expect(routes).toContain("original one+0");
  expect(routes).toContain("original two+0");
  expect(routes).toContain("inside between+0");
});

test("an operand with an immediate behind it belongs to its own variable, not to the one before", async () => {
  const diff = await diffPatched(`
    #define mostly_read __attribute__((section(".data..read_mostly")))
    static mostly_read int one = 1;
    static mostly_read int two = 2;
    void f(void) {
      asm volatile("cmpl $0x12345678, %c0(%%rip)" :: "i"(&two));
      asm volatile("cmpl $5, %c0(%%rip)" :: "i"(&two));
      asm volatile("movw $5, %c0(%%rip)" :: "i"(&two));
      asm volatile("testb $5, %c0(%%rip)" :: "i"(&two));
      asm volatile("lock xaddl %%eax, %c0(%%rip)" :: "i"(&two));
      outside(&one);
    #ifdef PATCHED
      take(2);
    #endif
    }
  `);
  expect(diff.redirected).toEqual(["f"]);
  const routes = names(diff.routes("f")).filter((route) => /one|two/.test(route));
  expect(routes).toEqual([
    "original two-8",
    "original two-5",
    "original two-6",
    "original two-5",
    "original two-4",
    "original one+0",
  ]);
});

const loop = (declarations: string): string => `
  #define mostly_read __attribute__((section(".data..read_mostly")))
  ${declarations}
  void f(void) {
    for (int *p = numbers; p < numbers + 4; p++) outside(p);
  #ifdef PATCHED
    take(7);
  #endif
  }
`;
const numbers = "static mostly_read int numbers[4] = { 1 };";
const fresh = "\n#ifdef PATCHED\nstatic __used mostly_read int fresh = 9;\n#endif\n";

test("the end of an array that a new variable follows is refused: it could be the one or the other", async () => {
  // gcc writes variables in the reverse order of their declaration.
  const diff = await diffPatched(loop(`${fresh}${numbers}`));
  expect(diff.refusals).toEqual(["AMBIGUOUS_PLACE fresh"]);
  expect(diff.selection.refusals[0]?.why).toContain("f refers to the place where numbers ends");
});

test("the end of an array that the same variable follows as in the running kernel is fine", async () => {
  const diff = await diffPatched(loop(`static __used mostly_read int behind = 9;\n${numbers}${fresh}`));
  expect(diff.refusals).toEqual([]);
  expect(diff.carried).toEqual(["f"]);
  expect(names(diff.routes("f"))).toContain("original behind+0");
});

import { expect, test } from "vitest";
import { diffC } from "./diff-units.ts";

/** The refusals of a pair, without the numbers that the compiler gave. */
const plain = (refusals: readonly string[]): string[] => refusals.map((refusal) => refusal.replace(/\.\d+$/, ""));

test.each([
  ["__key", "static long __key[4];"],
  ["_rs", "static long _rs[4] = { 1, 2, 3, 4 };"],
])("a static %s that is not the struct of the kernel's macro stays the kernel's variable", async (name, declared) => {
  const f = (last: string): string => `void f(int i) { ${declared} ${name}[i & 3] += i; outside(${last}); }`;
  const diff = await diffC(f(`&${name}[0]`), f(`&${name}[1]`), ["-g"]);
  expect(diff.redirected).toEqual(["f"]);
  expect(diff.carried).toEqual(["f"]);
});

test("a lock class key of the kernel's type starts anew", async () => {
  const f = (value: number): string =>
    `struct lock_class_key { long a, b; }; void f(void) { static struct lock_class_key __key; outside(&__key); take(${value}); }`;
  const diff = await diffC(f(1), f(2), ["-g"]);
  expect(plain(diff.carried)).toEqual(["__key", "f"].sort());
});

test("a variable of a file that is called once stays the kernel's variable", async () => {
  const unit = (more: string): string => `
    static _Bool once = 1;
    int check(void) { if (once) { once = 0; return 1; } return 0; }
    void use(int x) { if (once) take(x${more}); }`;
  const diff = await diffC(unit(""), unit(" + 1"), ["-fdata-sections"]);
  expect(diff.redirected).toEqual(["use"]);
  expect(diff.carried).toEqual(["use"]);
});

test("counters of two calls that change places are refused: code and neighbours speak for different ones", async () => {
  const unit = (first: string, second: string): string => `
    #define COUNT(x) ({ static long hits; hits += x; hits; })
    extern void out(long); extern void out2(long);
    void f(long x) { ${first}(COUNT(x)); ${second}(COUNT(x)); }`;
  const swapped = await diffC(unit("out", "out2"), unit("out2", "out"), ["-g"]);
  expect(plain(swapped.refusals)).toEqual(["STATIC_LOCAL hits", "STATIC_LOCAL hits"]);
  // The same with a change elsewhere: nothing contradicts.
  const kept = await diffC(unit("out", "out2"), unit("out", "take(x), out2"), ["-g"]);
  expect(kept.refusals).toEqual([]);
});

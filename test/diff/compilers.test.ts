import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { compileC } from "../fixtures/compile.ts";
import { hasProgram } from "../fixtures/has-program.ts";
import { diffObjects, type UnitDiff } from "./diff-units.ts";

const macros = readFileSync(new URL("../fixtures/kernel-tables.h", import.meta.url), "utf8");

/** Compilers of the archive, with what each kind of kernel adds to the flags. */
const builds: readonly (readonly [string, string, readonly string[]])[] = [
  ["gcc", "plain", []],
  [
    "gcc",
    "with call padding, IBT and retpolines",
    ["-fpatchable-function-entry=16,16", "-fcf-protection=branch", "-mindirect-branch=thunk-extern"],
  ],
  ["gcc", "with checks of bounds and shifts", ["-fsanitize=bounds", "-fsanitize=shift"]],
  ["gcc", "for size", ["-Os"]],
  ["gcc", "without fentry, its places recorded in another way", ["-fno-asynchronous-unwind-tables", "-mnop-mcount"]],
  ["gcc-11", "plain", []],
  ["gcc-11", "with call padding", ["-fpatchable-function-entry=16,16"]],
  ["clang-14", "plain", []],
  ["clang-14", "with retpolines", ["-mretpoline-external-thunk"]],
  ["clang-19", "plain", []],
  [
    "clang-19",
    "with kCFI, call padding and IBT",
    ["-fsanitize=kcfi", "-fpatchable-function-entry=16,16", "-fcf-protection=branch"],
  ],
  ["clang-19", "with checks of bounds and shifts", ["-fsanitize=bounds", "-fsanitize=shift"]],
];

/** A unit with one of everything whose names or places compilers choose. `CHANGE` is in the middle function. */
const everything = String.raw`${macros}
#line 1
struct ops { int (*call)(int); const char *name; int flags[4]; };
struct wide { int a, b, c, d, e, f; };
extern int register_ops(const struct ops *);
extern int sum(const struct wide *);
static int total;
static const int weights[8] = { 3, 1, 4, 1, 5, 9, 2, 6 };
static noinline int helper(int x) { static int calls; calls += x; return calls + weights[x & 7]; }
static int callback(int x) { return helper(x) ^ 5; }
static const struct ops *const table = &(const struct ops){ callback, "first", { 1, 2, 3, 4 } };
int before(int x)
{
	static int seen;
	static int calls;
	bug(7);
	if (seen++ > 3)
		printk("%s: seen too often: %d\n", __func__, x);
	calls += x;
	return helper(calls) + register_ops(table);
}
int middle(int x, int *values)
{
	static int seen;
	static int calls;
	CHANGE
	switch (x) {
	case 1: return helper(3) + values[1];
	case 2: return helper(7) - values[2];
	case 3: return take(9) + values[3];
	case 4: return helper(11) << values[4];
	case 5: return take(13) >> (x & 3);
	case 6: return helper(15);
	case 7: printk("seven %d\n", seen++); return 1;
	}
	calls += x;
	if (__builtin_expect(calls < 0, 0))
		printk("%s: too many calls: %d\n", __func__, calls);
	bug(9);
	return values[x & 7] + weights[x & 7];
}
int behind(int x)
{
	static int calls;
	const struct wide w = { 1, 2, 3, 4, 5, 6 };
	locked_increment(total);
	bug(11);
	printk("%s\n", __func__);
	calls -= x;
	return sum(&w) + calls + (table->call)(x);
}
`;

describe.each(builds.filter(([compiler]) => hasProgram(compiler)))("%s %s", (compiler, _, flags) => {
  function compile(change: string): Uint8Array {
    return compileC(everything, [...flags, `-DCHANGE=${change}`], compiler);
  }
  async function diff(change: string): Promise<UnitDiff> {
    return diffObjects(compile(""), compile(change));
  }

  test("the unit compared with itself is unchanged", async () => {
    const unchanged = await diffObjects(compile(""), compile(""));
    expect(unchanged.refusals).toEqual([]);
    expect(unchanged.redirected).toEqual([]);
    expect(unchanged.selection.atoms).toEqual([]);
  });

  test("a change in one function changes that function and nothing else", async () => {
    const changed = await diff("x*=3;");
    expect(changed.refusals).toEqual([]);
    expect(changed.redirected.filter((name) => !name.includes(".cold"))).toEqual(["middle"]);
    expect(changed.carried.filter((name) => /^(before|behind|helper|callback)/.test(name))).toEqual([]);
  });

  test("its static locals stay those of the running kernel", async () => {
    const changed = await diff("x*=3;");
    const routes = changed.routes("middle").filter((route) => /\b(seen|calls)\b/.test(route));
    expect(routes.length).toBeGreaterThan(0);
    for (const route of routes) expect(route).toContain(" original ");
    expect(changed.carried.filter((name) => /\b(seen|calls)\b/.test(name))).toEqual([]);
  });

  test("a new static local in front of the others is the only new thing", async () => {
    const changed = await diff("{static~int~fresh;fresh+=x;take(fresh);}".replaceAll("~", "\t"));
    expect(changed.refusals).toEqual([]);
    expect(changed.redirected.filter((name) => !name.includes(".cold"))).toEqual(["middle"]);
    expect(changed.carried.filter((name) => /\b(seen|calls|fresh)\b/.test(name))).toHaveLength(1);
  });

  test("a new static local of the name of another one is refused: which is which is a guess", async () => {
    const changed = await diff("{static~int~calls;calls+=x;take(calls);}".replaceAll("~", "\t"));
    for (const refusal of changed.refusals) expect(refusal).toMatch(/^STATIC_LOCAL .*calls/);
    expect(changed.refusals.length).toBeGreaterThan(0);
  });

  test("only texts and constants that it uses come along", async () => {
    const changed = await diff('printk("new~text~%d",x);'.replaceAll("~", "\t"));
    const texts = changed.selection.atoms
      .filter(({ kind }) => kind === "string")
      .map(({ bytes }) => Buffer.from(bytes).toString("latin1").replaceAll("\0", ""));
    expect(texts).toContain("new\ttext\t%d");
    for (const text of texts) expect(text).not.toMatch(/seen too often/);
  });

  test("entries of special tables are those of the changed function", async () => {
    const changed = await diff("x*=3;");
    for (const [table, entries] of changed.selection.entries) {
      const owners = new Set(entries.map(({ place }) => place?.atom.name.replace(/\.cold.*$/, "")));
      expect([table, [...owners]]).toEqual([table, ["middle"]]);
    }
    expect(changed.selection.entries.get("__bug_table")).toHaveLength(1);
  });
});

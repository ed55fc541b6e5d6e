import { expect, test } from "vitest";
import type { Atom } from "../../src/diff/atoms.ts";
import { calledDirectly } from "../../src/module/direct-calls.ts";
import { stackCheckOrder } from "../../src/module/stack-check-order.ts";
import { diffPatched, UnitDiff } from "../diff/diff-units.ts";

/** Functions with the nameless ones that lie behind them. */
function order({ patched, changes, selection }: UnitDiff): string[] {
  const redirected = new Set<Atom>();
  for (const { atom, redirected: is } of changes.functions.values()) if (is) redirected.add(atom);
  const { atoms, nameless } = stackCheckOrder(patched, selection, redirected);
  return atoms
    .filter(({ kind }) => kind === "function")
    .map((atom) => (nameless.has(atom) ? `+ ${atom.name}` : atom.name));
}

const source = `
#ifdef PATCHED
static noinline int jumped(int i) { printk("jumped"); return i; }
static noinline int called(int i) { printk("called"); return i; }
#endif
__attribute__((cold)) extern void complain(const char *);
int first(int i) {
#ifdef PATCHED
	i += called(i);
#endif
	return take(i) + 1;
}
int second(int i) {
	if (__builtin_expect(take(i), 0)) { complain("rare"); printk("rare"); }
#ifdef PATCHED
	return jumped(i);
#else
	return i;
#endif
}`;

test("what is jumped to lies behind a redirected function and has no symbol of its own", async () => {
  const found = order(await diffPatched(source));
  expect(found).toEqual(["called", "first", "+ jumped", "second", "+ second.cold"]);
});

const calls = `
noinline int inner(int i) {
#ifdef PATCHED
	printk("inner");
#endif
	return take(i);
}
int outer(int i) {
#ifdef PATCHED
	printk("outer");
#endif
	return inner(i) + (i > 3 ? outer(i - 1) : 0) + take(3);
}`;

test("functions that a later module may redirect again are called by way of the kernel's", async () => {
  const beside = await diffPatched(calls);
  const { original, patched } = beside;
  const stacked = new UnitDiff(original, patched, { throughKernel: true });
  const targets = (diff: UnitDiff): string[] =>
    diff
      .routes("outer")
      .flatMap((route) => / (inside|original) (inner|outer)\b/.exec(route)?.slice(1, 3).join(" ") ?? []);
  expect(targets(beside)).toContain("inside inner");
  expect(targets(stacked)).toContain("original inner");
  expect(targets(stacked)).not.toContain("inside inner");
  // A function that calls itself blocks the transition away from it until it is left, so its own version is the right one.
  expect(targets(stacked)).not.toContain("original outer");
  const redirections = [...patched.atoms]
    .filter(({ name }) => name === "inner" || name === "outer")
    .map((atom) => ({ atom, oldName: atom.name, sympos: 0, address: 0, size: 0 }));
  const direct = ({ selection }: UnitDiff): string[] =>
    [...calledDirectly({ plan: { patched }, selection, redirections })].map(({ name }) => name);
  expect(direct(beside)).toEqual(["inner"]);
  expect(direct(stacked)).toEqual([]);
});

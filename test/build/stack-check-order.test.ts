import { expect, test } from "vitest";
import { calledDirectly } from "../../src/build/assemble/direct-calls.ts";
import { inLinkOrder, jumpsOf, type ModuleJumps, stackCheckOrder } from "../../src/build/assemble/stack-check-order.ts";
import type { Atom } from "../../src/diff/atoms.ts";
import { diffPatched, UnitDiff } from "../diff/diff-units.ts";

/** Functions with the nameless ones that lie behind them. */
function order({ patched, changes, selection }: UnitDiff, jumps?: ModuleJumps): string[] {
  const redirected = new Set<Atom>();
  for (const { atom, redirected: is } of changes.functions.values()) if (is) redirected.add(atom);
  const { atoms, nameless } = stackCheckOrder(patched, selection, redirected, jumps);
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

test("so does what other units see, where one of them jumps to it or its own does", async () => {
  const found = order(
    await diffPatched(`
#ifdef PATCHED
int far(int i) { printk("far"); return take(i); }
noinline int near(int i) { printk("near"); return take(i); }
noinline int other(int i) { printk("other"); return take(i); }
#endif
int first(int i) {
#ifdef PATCHED
	if (i > 7) return near(i);
	return other(i) + take(i);
#endif
	return take(i) + 1;
}`),
    { names: new Set(["far"]), indirect: false },
  );
  expect(found).toEqual(["other", "first", "+ far", "+ near"]);
});

test("a unit that redirects nothing has no names once something in it is jumped to", async () => {
  const added = await diffPatched(`
#ifdef PATCHED
static noinline int called(int i) { printk("called"); return take(i); }
int far(int i) { return called(i) + take(i); }
#endif
int first(int i) { return take(i); }`);
  expect(order(added)).toEqual(["called", "far"]);
  expect(order(added, { names: new Set(["far"]), indirect: false })).toEqual(["+ called", "+ far"]);
});

test("the last redirected function ends its unit, and units that redirect nothing follow those of their object that do", async () => {
  const found = order(
    await diffPatched(`
int first(int i) {
#ifdef PATCHED
	printk("first");
#endif
	return take(i);
}
#ifdef PATCHED
int behind(int i) { printk("behind"); return take(i); }
#endif`),
  );
  expect(found).toEqual(["behind", "first"]);
  const unit = (name: string, object: string, count: number) => ({
    name,
    redirections: new Array<string>(count).fill("f"),
    plan: { pair: { object } },
  });
  const units = [unit("new", "vmlinux", 0), unit("a", "vmlinux", 1), unit("zram", "zram", 2), unit("b", "vmlinux", 1)];
  expect(inLinkOrder(units).map(({ name }) => name)).toEqual(["a", "b", "new", "zram"]);
});

test("what a unit jumps to outside of itself", async () => {
  const { patched, selection } = await diffPatched(`
extern int jumps(int);
int first(int i) {
#ifdef PATCHED
	printk("first");
	return jumps(i);
#endif
	return take(i);
}`);
  const { names, indirect } = jumpsOf([{ plan: { patched }, selection }]);
  expect([...names]).toContain("jumps");
  expect([...names]).not.toContain("printk");
  expect(indirect).toBe(false);
});

test("functions of a table count where code jumps to one of them by a register, with a retpoline", async () => {
  const diff = await diffPatched(`
#ifdef PATCHED
static int one(int i) { printk("one"); return take(i) + 1; }
static int two(int i) { printk("two"); return take(i) + 2; }
static int (*const table[])(int) = { one, two };
#endif
int first(int i) {
#ifdef PATCHED
	void *to = table[i & 1];
	asm volatile("jmp __x86_indirect_thunk_rax" : : "a" (to));
#endif
	return take(i);
}`);
  const { patched, selection } = diff;
  const units = [{ plan: { patched }, selection }];
  expect(jumpsOf(units).indirect).toBe(true);
  const [first, ...behind] = order(diff);
  expect([first, ...behind.sort()]).toEqual(["first", "+ one", "+ two"]);
  // A module that stays in memory needs no guard for what may be called for ever, as the main loop of a kernel thread.
  expect(order(diff, jumpsOf(units, false)).sort()).toEqual(["first", "one", "two"]);
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

test("replacement code that leads back into its function does not call it", async () => {
  const diff = await diffPatched(`
int hidden(int i) {
#ifdef PATCHED
	printk("hidden");
#endif
	asm volatile("661: .byte 0x0f,0x1f,0x44,0,0; 662: ;"
		".pushsection .altinstructions,\\"a\\"; .long 661b-., 663f-.; .word 86; .byte 5, 664f-663f; .popsection;"
		".pushsection .altinstr_replacement,\\"ax\\"; 663: jmp 662b + 2; 664: ; .popsection" ::: "memory");
	return take(i);
}`);
  const { patched, selection } = new UnitDiff(diff.original, diff.patched, { throughKernel: true });
  const hidden = patched.atoms.find(({ name }) => name === "hidden");
  if (hidden === undefined) throw new Error("there is no such function");
  const leadsBack = patched.atoms.filter(
    (user) =>
      user.kind === "code" && user.references.some(({ target }) => target.kind === "atom" && target.atom === hidden),
  );
  expect(leadsBack.map(({ section }) => section.name)).toEqual([".altinstr_replacement"]);
  expect(selection.atoms).toContain(leadsBack[0]);
  const redirections = [{ atom: hidden, oldName: "hidden", sympos: 0, address: 0, size: 0 }];
  expect([...calledDirectly({ plan: { patched }, selection, redirections })]).toEqual([]);
});

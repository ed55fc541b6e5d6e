import { expect, test } from "vitest";
import { chooseVariant, markable, variants, withVariants } from "../../bench/replace/variants.ts";

const source = `#include <linux/x.h>

/* { a brace in a comment } */
static int first(int a)
{
	return a; /* { */
}

static __always_inline int inner(void)
{
	return 1;
}

int __init early(void)
{
	return 0;
}

noinstr void never(void)
{
}

SYSCALL_DEFINE2(pipe2, int __user *, fildes,
		int, flags)
{
	return first(flags);
}

struct kept {
	int x;
};

unsigned long
second(struct kept *k,
       int b)
{
	return b;
}
`;

test("functions that can be redirected are found, system calls among them", () => {
  expect(markable(source).map(({ name }) => name)).toEqual(["first", "pipe2", "second"]);
});

test("each function has its variant, and no line moves", () => {
  const [first, pipe2, second] = markable(source);
  const of = (name: string) => variants.find((one) => one.name === name) as (typeof variants)[0];
  const changed = withVariants(source, [
    { where: second as never, variant: of("marker") },
    { where: first as never, variant: of("apart") },
    { where: pipe2 as never, variant: of("frame") },
  ]).split("\n");
  const original = source.split("\n");
  expect(changed).toHaveLength(original.length);
  expect(changed.filter((line, at) => line !== original[at])).toEqual([
    "noinline static int first(int a)",
    '{ asm volatile("nop");',
    '{ char kmend_room[40]; asm volatile("nop" : : "r" (kmend_room) : "memory");',
    '{ asm volatile("nop");',
  ]);
});

test("the seed chooses, and heads that do not allow a variant do not get it", () => {
  const functions = Array.from({ length: 400 }, (_, at) => ({
    ...{ name: `f${at}`, first: 1, last: 3 },
    text: at % 2 === 0 ? "int f(void)\n{\n}" : "SYSCALL_DEFINE0(f)\n{\n}",
  }));
  const names = (seed: string): string[] => functions.map((one) => chooseVariant(one, "u.c", seed).name);
  expect(names("1")).toEqual(names("1"));
  expect(names("1")).not.toEqual(names("2"));
  expect(new Set(names("1").filter((_, at) => at % 2 === 0))).toEqual(
    new Set(["marker", "registers", "frame", "inlining"]),
  );
  expect(new Set(names("1").filter((_, at) => at % 2 === 1))).toEqual(new Set(["marker", "registers", "frame"]));
});

import { expect, test } from "vitest";
import { touchesLocking } from "../../src/change/lock-lines.ts";

const text = `static void count(struct lamp *l, int n)
{
	l->lit += n;
}

int light(struct lamp *l)
{
	int ret = 0;

	mutex_lock(&l->io);
	ret = bulb_on(l);
	mutex_unlock(&l->io);
	return ret;
}
`;

test.each([
  ["a message", "	ret = bulb_on", '	pr_info("on");\n	ret = bulb_on', false],
  ["a condition where no lock is", "	l->lit += n;", "	if (n)\n		l->lit += n;", false],
  ["another lock", "mutex_lock(&l->io)", "mutex_lock(&l->config)", true],
  [
    "a way out of a function with locks",
    "	ret = bulb_on(l);",
    "	if (l->lit)\n		return 0;\n	ret = bulb_on(l);",
    true,
  ],
  ["a condition in it", "	ret = bulb_on(l);", "	if (!l->lit)\n		ret = bulb_on(l);", true],
] as const)("%s", (_, from, to, expected) => {
  const patched = text.replace(from, to);
  expect(patched).not.toBe(text);
  const file = { path: "a.c", kind: "modified", original: Buffer.from(text), patched: Buffer.from(patched) } as const;
  expect(touchesLocking([file])).toBe(expected);
});

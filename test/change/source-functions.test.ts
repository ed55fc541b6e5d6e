import { expect, test } from "vitest";
import { sourceFunctions, touchedFunctions } from "../../src/change/source-functions.ts";

const text = `// SPDX-License-Identifier: GPL-2.0
#include <linux/fs.h>

struct thing {
	int a;
};

static const struct file_operations operations = {
	.open = open,
};

/* Adds. */
static inline int __must_check
add(int a, int b)
	__acquires(lock)
{
	if (a) {
		return b;
	}
	return a + b;
}

int one_line(void) { return 1; }

void __printf(1, 2) shout(const char *text, ...) {
	puts(text);
}

SYSCALL_DEFINE1(close, unsigned int, fd)
{
	return 0;
}
`;

test("functions are found with their lines", () => {
  expect(sourceFunctions(text).map(({ name, first, last }) => [name, first, last])).toEqual([
    ["add", 13, 21],
    ["shout", 25, 27],
  ]);
});

test("those that a change touches are told from the others", () => {
  const change = (from: string, to: string): string[] =>
    touchedFunctions({ original: Buffer.from(text), patched: Buffer.from(text.replace(from, to)) }).map(
      ({ name }) => name,
    );
  expect(change("return b;", "return b + 1;")).toEqual(["add"]);
  expect(change("int a;", "long a;")).toEqual([]);
  expect(change("/* Adds. */", "/* Adds.\n\n\n */")).toEqual([]);
  expect(touchedFunctions({ original: null, patched: Buffer.from(text) })).toEqual([]);
});

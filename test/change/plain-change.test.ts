import { expect, test } from "vitest";
import { seenByEveryReader } from "../../src/change/plain-change.ts";

const header = `/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _H
#define _H
#include <linux/types.h>
#define TWICE(a) \\
	(2 * (a))
#ifdef CONFIG_NET
static inline int net(int a) { return a; }
#else
static inline int net(int a) { return 0; }
#endif
static inline int twice(int a)
{
	return TWICE(a); /* a comment */
}
#endif /* _H */
`;

function isSeen(edit: (text: string) => string, text = header): boolean {
  const patched = edit(text);
  expect(patched).not.toBe(text);
  const [path, kind] = ["include/h.h", "modified"] as const;
  return seenByEveryReader([{ path, kind, original: Buffer.from(text), patched: Buffer.from(patched) }]).has(path);
}

test("text outside of conditionals is seen", () => {
  expect(isSeen((text) => text.replace("return TWICE(a)", "return TWICE(a + 1)"))).toBe(true);
  expect(isSeen((text) => text.replace("static inline int twice", "struct fresh { int b; };\n$&"))).toBe(true);
});

test("a header without a guard is like one with it", () => {
  const unguarded = header.replace(/#ifndef _H\n#define _H\n/, "").replace("#endif /* _H */\n", "");
  expect(isSeen((text) => text.replace("return TWICE(a)", "return 0"), unguarded)).toBe(true);
});

test.each([
  ["a comment", (text: string) => text.replace("a comment", "another comment")],
  ["white space", (text: string) => text.replace("int twice(int a)\n", "int\ntwice(int  a)\n")],
  ["a macro", (text: string) => text.replace("2 * (a)", "3 * (a)")],
  ["what one configuration has", (text: string) => text.replace("{ return a; }", "{ return -a; }")],
  ["what another configuration has", (text: string) => text.replace("{ return 0; }", "{ return 1; }")],
  [
    "a new condition",
    (text: string) => text.replace(/static inline int twice[^}]*\}\n/, "#ifdef CONFIG_X\n$&#endif\n"),
  ],
  ["an included file", (text: string) => text.replace("linux/types.h", "linux/list.h")],
  ["text and a macro at once", (text: string) => text.replace("2 * (a)", "3 * (a)").replace("TWICE(a);", "TWICE(-a);")],
])("%s: not every reader may see it", (_, edit) => {
  expect(isSeen(edit)).toBe(false);
});

test("a conditional around the rest of the file is no guard unless it defines what it asks for", () => {
  const asked = header.replace("#define _H\n", "#define _OTHER\n");
  expect(isSeen((text) => text.replace("return TWICE(a)", "return 0"), asked)).toBe(false);
  const two = header.replace("#endif /* _H */\n", "#else\nint other;\n#endif\n");
  expect(isSeen((text) => text.replace("int other;", "long other;"), two)).toBe(false);
});

test("files that come or go are not told of", () => {
  const content = Buffer.from(header);
  expect([
    ...seenByEveryReader([
      { path: "a.h", kind: "added", original: null, patched: content },
      { path: "b.h", kind: "deleted", original: content, patched: null },
    ]),
  ]).toEqual([]);
});

import { expect, test } from "vitest";
import { hunksOf } from "../../src/report/source-hunks.ts";

const file = (before: string, after: string) =>
  ({ path: "fs/a.c", kind: "modified", original: Buffer.from(before), patched: Buffer.from(after) }) as const;

test("lines have their numbers before and after, and those that the compiler gives them", () => {
  const [hunk] = hunksOf(file("a\nb\nc\nd\n", "a\nb\nx\ny\nd\n"), []);
  expect(hunk?.lines.map((line) => [line.kind, line.old, line.new, line.text])).toEqual([
    ["context", 1, 1, "a"],
    ["context", 2, 2, "b"],
    ["removed", 3, null, "c"],
    ["added", null, 3, "x"],
    ["added", null, 4, "y"],
    ["context", 4, 5, "d"],
  ]);
  expect([...(hunk?.removed ?? [])]).toEqual([3]);
  // Lines that the patch leaves alone keep their numbers, so added ones count on from the last of them.
  expect([...(hunk?.added ?? [])]).toEqual([3, 4]);
  // The second of them has the number of a line that is still there.
  expect([...(hunk?.shared ?? [])]).toEqual([4]);
});

test("a refusal stands at the line that it names, and at no other file's", () => {
  const refusal = { code: "DATA_CHANGED", what: "b", why: "it is live", hint: "leave it" } as const;
  const lines = (where: string): string[] =>
    hunksOf(file("a\nb\n", "a\nc\n"), [{ ...refusal, where }]).flatMap((hunk) =>
      hunk.lines.flatMap(({ refused }) => refused),
    );
  expect(lines("a.c:2")).toEqual(["DATA_CHANGED: b: it is live"]);
  expect(lines("fs/a.c:2")).toHaveLength(1);
  expect(lines("other.c:2")).toEqual([]);
  const ofOther = { ...refusal, where: "a.c:2", unit: "lib/a.c" };
  expect(hunksOf(file("a\nb\n", "a\nc\n"), [ofOther])[0]?.lines.flatMap(({ refused }) => refused)).toEqual([]);
});

test("a source that is not UTF-8 is shown byte by byte", () => {
  const [hunk] = hunksOf({ ...file("", ""), patched: Buffer.from([0x2f, 0x2f, 0xe4, 0x0a]) }, []);
  expect(hunk?.lines.map(({ text }) => text)).toEqual(["//\u00e4"]);
});

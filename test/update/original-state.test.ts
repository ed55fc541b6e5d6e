import { mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { differencesOf, OriginalMemory } from "../../src/update/original-state.ts";

let folder: string;
let tree: string;
let prepared: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-state-"));
  tree = join(folder, "tree");
  prepared = join(folder, "prepared");
  for (const path of [tree, prepared]) mkdirSync(path);
});
afterEach(() => rmSync(folder, { recursive: true }));

const longAgo = new Date("2025-01-02T03:04:05Z");

/** A file of the tree and its copy, with the same time of change. */
function pair(name: string, time: Date): void {
  for (const path of [tree, prepared]) {
    writeFileSync(join(path, name), "MemFree\n");
    utimesSync(join(path, name), time, time);
  }
}

const differing = async (): Promise<unknown[]> => [
  ...(await differencesOf(tree, ["a.c"], prepared, ["a.c"], () => false)),
];

test("a file that nobody touched is the same", async () => {
  pair("a.c", longAgo);
  expect(await differing()).toEqual([]);
});

test("an edit that keeps the size shows by its time", async () => {
  pair("a.c", longAgo);
  writeFileSync(join(tree, "a.c"), "MemFREE\n");
  expect(await differing()).toHaveLength(1);
});

test("a file that was written in the second in which it was copied is read", async () => {
  const now = new Date();
  pair("a.c", now);
  writeFileSync(join(tree, "a.c"), "MemFREE\n");
  utimesSync(join(tree, "a.c"), now, now);
  expect(statSync(join(tree, "a.c")).mtimeMs).toBe(statSync(join(prepared, "a.c")).mtimeMs);
  expect(await differing()).toHaveLength(1);
});

test("a file that is gone and one that is new differ", async () => {
  pair("a.c", longAgo);
  rmSync(join(tree, "a.c"));
  expect([...(await differencesOf(tree, [], prepared, ["a.c"], () => false))]).toHaveLength(1);
  writeFileSync(join(tree, "b.c"), "new\n");
  expect([...(await differencesOf(tree, ["b.c"], prepared, [], () => false))]).toHaveLength(1);
});

test("one update at a time is made from a tree: what the last one is, is read first and written last", async () => {
  const before = process.env["KMEND_CACHE"];
  process.env["KMEND_CACHE"] = join(folder, "cache");
  try {
    const steps: string[] = [];
    let waited: () => void = () => {};
    const waiting = new Promise<void>((resolve) => {
      waited = resolve;
    });
    let second: Promise<unknown> = Promise.resolve();
    await (await OriginalMemory.of(tree)).alone(
      async () => {
        second = (await OriginalMemory.of(tree)).alone(async () => void steps.push("second"), {
          onWait: (pid) => {
            steps.push(`waits for ${pid}`);
            waited();
          },
          signal: undefined,
        });
        await waiting;
        steps.push("first");
      },
      { onWait: () => void steps.push("never"), signal: undefined },
    );
    await second;
    expect(steps).toEqual([`waits for ${process.pid}`, "first", "second"]);
  } finally {
    if (before === undefined) delete process.env["KMEND_CACHE"];
    else process.env["KMEND_CACHE"] = before;
  }
});

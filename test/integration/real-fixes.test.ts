import { afterAll, beforeAll, expect, test } from "vitest";
import { buildFixes } from "../../bench/fixes/build-fixes.ts";
import { shuffled } from "../../bench/fixes/corpus.ts";
import type { FixRecord } from "../../bench/fixes/records.ts";
import { report } from "../../bench/fixes/report.ts";
import { openSession, type Session } from "../../bench/fixes/session.ts";
import { tryFixes } from "../../bench/fixes/try-fixes.ts";
import { Scratch } from "./stock-kernel.ts";
import { pairOfVersions } from "./version-pair.ts";

/** Code that every kernel has and that compiles fast. */
const within = ["kernel", "mm", "lib", "fs", "net/core", "net/ipv4", "security"];
const sampleSize = 15;
const triedModules = 3;

const scratch = new Scratch();
let session: Session;
let folder: string;
let records: FixRecord[];

beforeAll(async () => {
  session = await openSession({ ...(await pairOfVersions()), within });
  folder = scratch.folder();
  const fixes = shuffled(session.corpus.fixes, "sample").slice(0, sampleSize);
  records = await buildFixes({
    ...{ session, fixes, records: `${folder}/records.jsonl`, output: folder, seed: "sample" },
    ...{ jobs: 2, compilers: 1, units: 8, joins: 2 },
    onRecord: () => {},
  });
});
afterAll(() => scratch.remove());

test("none of a sample of the kernel's own fixes ends in a failure", () => {
  expect(records).toHaveLength(sampleSize);
  expect(records.filter(({ outcome }) => outcome === "failed")).toEqual([]);
  expect(records.filter(({ outcome }) => outcome === "built").length).toBeGreaterThanOrEqual(triedModules);
});

test("every refusal says what, why and what to do", () => {
  for (const { refusals, outcome } of records) {
    expect(outcome === "refused").toBe(refusals.length > 0);
    for (const refusal of refusals)
      for (const text of [refusal.what, refusal.why, refusal.hint]) expect(text).not.toBe("");
  }
});

test("the modules load, take effect and unload, one after the other in one virtual machine", async () => {
  const built = records.filter(({ outcome }) => outcome === "built").slice(0, triedModules);
  const tries = await tryFixes({
    ...{ kernel: session.kernel, built, records: `${folder}/tries.jsonl`, output: folder },
    onRecord: () => {},
  });
  expect(tries.map(({ id, verdict, failure }) => ({ id, verdict, failure }))).toEqual(
    built.map(({ id }) => ({ id, verdict: "passed", failure: null })),
  );
  expect(report({ session, seed: "sample", records, tries })).toContain(
    `${triedModules} of ${triedModules} were loaded`,
  );
});

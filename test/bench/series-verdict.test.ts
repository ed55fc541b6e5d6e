import { expect, test } from "vitest";
import { judgeSeries } from "../../bench/fixes/series-verdict.ts";
import type { Candidate } from "../../bench/fixes/try-fixes.ts";
import type { SeriesRun } from "../../bench/fixes/try-series.ts";

const batch: readonly Candidate[] = ["one", "two", "three"].map((name) => ({
  id: `${name}.c`,
  name,
  module: `/${name}.ko`,
  targets: [`/for-${name}.ko`],
}));

const whole = ["start", "targets", "load", "patched", "disabled", "unload", "log", "end"];
const passed = (number: number): string[] => whole.map((step) => `${step}.${number}`);

function run(names: readonly string[]): SeriesRun {
  const frames = names.map((name) => ({ name, status: 0, text: "" }));
  return { frames, files: [], end: "the guest panicked (x)", console: "[1.0] Kernel panic - not syncing: x" };
}

function verdicts(names: readonly string[]): string[] {
  return judgeSeries(batch, run(names)).records.map(({ id, verdict, failure }) => `${id} ${verdict} ${failure}`);
}

test("a guest that comes to its end", () => {
  expect(verdicts([...passed(0), ...passed(1), ...passed(2), "done"])).toEqual([
    "one.c passed null",
    "two.c passed null",
    "three.c passed null",
  ]);
});

test("a guest that dies with a module", () => {
  expect(verdicts([...passed(0), "start.1", "targets.1", "load.1"])).toEqual([
    "one.c passed null",
    "two.c failed the guest panicked (x)",
  ]);
});

test("a guest that dies between two modules died of the first", () => {
  const afterwards = "failed the guest died after the module was unloaded";
  expect(verdicts([...passed(0), ...passed(1)])).toEqual(["one.c passed null", `two.c ${afterwards}`]);
  expect(verdicts([...passed(0), ...passed(1), ...passed(2)])).toEqual([
    "one.c passed null",
    "two.c passed null",
    `three.c ${afterwards}`,
  ]);
});

test("a guest that dies while the kernel's own modules are loaded: which entry it was is told", () => {
  const { records, killedByTargets } = judgeSeries(batch, run([...passed(0), "start.1"]));
  expect(records.map(({ verdict }) => verdict)).toEqual(["passed"]);
  expect(killedByTargets).toBe("two.c");
});

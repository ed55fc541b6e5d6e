import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { seriesScript } from "../../bench/fixes/series-script.ts";
import { judgeSeries } from "../../bench/fixes/series-verdict.ts";
import type { Candidate } from "../../bench/fixes/try-fixes.ts";
import type { SeriesRun } from "../../bench/fixes/try-series.ts";

const batch: readonly Candidate[] = ["one", "two", "three"].map((name) => ({
  id: `${name}.c`,
  name,
  module: `/${name}.ko`,
  staysInMemory: false,
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

test("a module that holds itself is not unloaded, and must still be there", () => {
  const script = (staysInMemory: boolean): string =>
    seriesScript("x", [{ name: "fix_a", file: 0, staysInMemory, targets: [] }]);
  const steps = (lifetime: string): string =>
    `number=0 patches=/none name=\n${/^steps\(\) \{\n[\s\S]*?^\}$/m.exec(script(true))?.[0].replaceAll("/tmp/out", "/dev/null")}
put_in_force() { :; }; take_back() { :; }; unload() { echo unloaded; }; send() { echo "$1 $2"; }
name=fix_a; steps 0 0 ${lifetime} </dev/null`;
  expect(script(true)).toContain("entry 0 0 fix_a stays");
  expect(script(false)).toContain("entry 0 0 fix_a goes");
  const out = (lifetime: string): string => execFileSync("sh", ["-c", steps(lifetime)], { encoding: "utf8" });
  expect(out("goes")).toBe("unloaded\nunload.0 0\n");
  expect(out("stays")).toBe("unload.0 1\n");
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

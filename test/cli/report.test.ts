import { expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import type { CommandContext, Problem } from "../../src/cli/command.ts";
import { reportBuild } from "../../src/cli/report/build-report.ts";
import { reportTry } from "../../src/cli/report/try-report.ts";
import { refuse } from "../../src/refusals/refusals.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import type { TryResult } from "../../src/vm/try-types.ts";

/** A command's io that keep what it prints. */
function capture(json = false) {
  const lines: string[] = [];
  const objects: object[] = [];
  const problems: Problem[] = [];
  const warnings: string[] = [];
  const context: CommandContext = {
    print: (line) => lines.push(line),
    printJson: (value) => objects.push(value),
    printProblem: (problem) => problems.push(problem),
    printWarning: (text) => warnings.push(text),
    json,
    style: (_format, text) => text,
    progress: new SilentProgress(),
    signal: new AbortController().signal,
  };
  return { context, lines, objects, problems, warnings };
}

const passed: TryResult = {
  schema: 1,
  verdict: "passed",
  kernel: "6.1.0-1-amd64",
  module: "livepatch_x",
  staysInMemory: false,
  transitionMilliseconds: 1040,
  probes: [],
  kernelLog: ["livepatch: 'livepatch_x': patching complete"],
  failure: null,
  stalledTasks: [],
  remarks: [],
  accelerator: "tcg",
  milliseconds: {},
};

test("a probe's outputs are shown where they differ", () => {
  const { context, lines } = capture();
  const probes = [
    { command: "cat /proc/a", before: "one\ntwo\nthree", loaded: "one\n2\nthree", after: "one\ntwo\nthree" },
    { command: "date", before: "1", loaded: "2", after: "3", varies: true as const },
    { command: "true", before: "", loaded: "", after: "" },
  ];
  reportTry(context, { ...passed, probes });
  expect(lines).toEqual([
    "probe: cat /proc/a",
    "  with the patch:",
    "  - two",
    "  + 2",
    "  after the unload: as before",
    "probe: date",
    "  with the patch:",
    "  - 1",
    "  + 2",
    "  varies by itself, so the run after the unload proves nothing",
    "probe: true",
    "  with the patch: no difference",
    "  after the unload: as before",
    "",
    "transition: 1.04 s",
    "passed: livepatch_x works on 6.1.0-1-amd64: loaded, active, reverted, unloaded",
  ]);
});

test("calls of patched functions are counted, and listed where that is wanted", () => {
  const calls = [
    { object: "vmlinux", name: "a_show", calls: 120 },
    { object: "fuse", name: "b_show", calls: 0 },
  ];
  const shown = (hits: boolean, result = { ...passed, calls }): string[] => {
    const { context, lines } = capture();
    reportTry(context, result, hits);
    return lines.filter((line) => !/^transition|^passed/.test(line));
  };
  expect(shown(false)).toEqual(["calls: 1 of 2 patched functions was called (--hits lists them)"]);
  expect(shown(true)).toEqual(["calls: 1 of 2 patched functions was called", "  120  a_show", "    0  b_show (fuse)"]);
  expect(shown(true, { ...passed, calls: undefined as never })).toEqual([
    "calls: the kernel of the trial could not count them",
  ]);
});

test("a failed try ends with its reason, after the kernel's log and the tasks that stalled", () => {
  const { context, lines } = capture();
  reportTry(context, {
    ...passed,
    verdict: "failed",
    failure: "the transition did not end within 15 s",
    transitionMilliseconds: null,
    stalledTasks: [
      { task: 7, name: "spinner", stack: [] },
      { task: 8, name: "sleeper", stack: ["schedule+0x1/0x2"] },
    ],
    probes: [{ command: "cat /proc/a", before: "one", loaded: "", after: "" }],
  });
  expect(lines).toEqual([
    "probe: cat /proc/a",
    "  was not run with the patch active",
    "",
    "stalled: task 7 (spinner), running",
    "stalled: task 8 (sleeper)",
    "    schedule+0x1/0x2",
    "kernel log:",
    "  livepatch: 'livepatch_x': patching complete",
    "failed: livepatch_x on 6.1.0-1-amd64: the transition did not end within 15 s",
  ]);
});

test("with --json there is one object and nothing else", () => {
  const { context, lines, objects } = capture(true);
  reportTry(context, passed);
  expect(lines).toEqual([]);
  expect(objects).toEqual([passed]);
});

const built: BuildResult = {
  schema: 1,
  outcome: "built",
  kernel: { release: "6.1.0-1-amd64", buildId: "00" },
  module: { path: "livepatch-x.ko", name: "livepatch_x", sha256: "ab", bytes: 2049, staysInMemory: false },
  functions: [
    { name: "f", object: "vmlinux", unit: "fs/a.c", sympos: 0, change: "changed", proven: true, reason: "line 3" },
    { name: "helper", object: "vmlinux", unit: "fs/a.c", sympos: 2, change: "new", proven: true, reason: "" },
  ],
  refusals: [],
  units: [{ path: "fs/a.c", object: "vmlinux" }],
  symbols: [{ name: "si_swapinfo", object: "vmlinux", sympos: 0, proof: "read from the original" }],
  notes: ["hunk 1 applied with fuzz 1"],
  warnings: [],
  milliseconds: { total: 1 },
};

test("a built module is shown with its functions and symbols, and why", () => {
  const { context, lines } = capture();
  reportBuild(context, built);
  expect(lines.join("\n").split("\n")).toEqual([
    "livepatch-x.ko",
    "  for 6.1.0-1-amd64, 3 KiB, sha256 ab",
    "",
    "Functions:",
    "  f       vmlinux                      fs/a.c  changed, proven: line 3",
    "  helper  vmlinux, no. 2 of that name  fs/a.c  new, proven",
    "",
    "Symbols that the new code reaches:",
    "  si_swapinfo  vmlinux  read from the original",
  ]);
  expect((context.progress as SilentProgress).notes).toEqual(["hunk 1 applied with fuzz 1"]);
});

test("a warning says where, why, and what helps", () => {
  const { context, warnings } = capture();
  const warning = { code: "NEW_STATE", function: "v", unit: "fs/a.c", why: "it is new", hint: "look" } as const;
  reportBuild(context, { ...built, warnings: [warning, { ...warning, place: "fs/a.c:7" }] });
  expect(warnings).toEqual(["v (fs/a.c): it is new; look", "v (fs/a.c:7): it is new; look"]);
});

test("every refusal is shown", () => {
  const { context, lines, problems } = capture();
  const refusals = [refuse("INIT_CODE", "f", "a.c:1", { section: ".init.text" }), refuse("ASSEMBLY", "g", "b.S")];
  reportBuild(context, { ...built, outcome: "refused", module: null, functions: [], symbols: [], refusals });
  expect(problems.map(({ kind, code, message }) => [kind, code, message])).toEqual([
    ["refused", "INIT_CODE", "f"],
    ["refused", "ASSEMBLY", "g"],
  ]);
  expect(lines).toEqual(["refused: 2 parts of this change cannot be live patched on 6.1.0-1-amd64"]);
});

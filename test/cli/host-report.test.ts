import { expect, test } from "vitest";
import type { CommandContext, Problem } from "../../src/cli/command.ts";
import { reportChange } from "../../src/cli/report/host-report.ts";
import { refuseOnHost } from "../../src/host/kernel/host-refusals.ts";
import type { PendingTask } from "../../src/host/kernel/tasks.ts";
import { SilentProgress } from "../../src/support/progress.ts";

type Result = Parameters<typeof reportChange>[1];

function report(modules: Result["modules"], dryRun = false): { lines: string[]; problems: Problem[]; notes: string[] } {
  const lines: string[] = [];
  const problems: Problem[] = [];
  const progress = new SilentProgress();
  const context: CommandContext = {
    print: (line) => void lines.push(line),
    printJson: () => {},
    printProblem: (problem) => void problems.push(problem),
    printWarning: () => {},
    json: false,
    style: (_format, text) => text,
    progress,
    signal: new AbortController().signal,
  };
  reportChange(context, { dryRun, steps: ["insmod a.ko"], modules });
  return { lines, problems, notes: progress.notes };
}

const sound = { name: "a", refusals: [], notes: ["look out"] };

test("a load with its time, what it replaced, and notes apart", () => {
  const { lines, notes } = report([{ ...sound, outcome: "loaded", milliseconds: 1234, replaced: ["b", "c"] }]);
  expect(lines).toEqual(["a: loaded in 1.2 s, replaced b, c"]);
  expect(notes).toEqual(["look out"]);
});

test("a dry run prints the steps alone", () => {
  expect(report([{ ...sound, outcome: "planned" }], true).lines).toEqual(["insmod a.ko"]);
});

test.each([
  ["absent", "not there"],
  ["already", "already there"],
])("and, where it has none for a module, that it is %s", (outcome, words) => {
  const { lines } = report(
    [
      { ...sound, outcome: "planned" },
      { ...sound, name: "b", outcome },
    ],
    true,
  );
  expect(lines).toEqual(["insmod a.ko", `b: ${words}`]);
});

test("the last line tells the reason of a refusal", () => {
  const refusals = [refuseOnHost("UNSIGNED", "a", "a.ko", { policy: "module.sig_enforce" })];
  const { lines, problems } = report([{ ...sound, outcome: "refused", refusals }]);
  expect(problems).toMatchObject([{ kind: "refused", code: "UNSIGNED", message: "a", where: "a.ko" }]);
  expect(lines.at(-1)).toMatch(/^a: refused: it carries no signature/);
});

test("tasks that hold a transition up, and the reason after them", () => {
  const task: PendingTask = {
    pid: 7,
    tid: 8,
    name: "reader",
    kernelThread: false,
    schedulerState: "D",
    function: "foo",
    inPatchedFunction: true,
    stack: ["[<0>] foo+0x1/0x2"],
    unit: "web.service",
    advice: "wait",
  };
  const error = { code: "TRANSITION_STALLED", message: "it did not end", why: "", hint: "" };
  const { lines, problems } = report([
    { ...sound, outcome: "stalled", error, stalledTasks: Array.from({ length: 22 }, () => task) },
  ]);
  expect(problems).toMatchObject([{ kind: "error", code: "TRANSITION_STALLED" }]);
  expect(lines.slice(0, 3)).toEqual([
    "  reader (8), thread of process 7 of web.service, state D in foo (which the patch changes)",
    "      [<0>] foo+0x1/0x2",
    "    wait",
  ]);
  expect(lines.at(-2)).toBe("  and 2 more (--json has them all)");
  expect(lines.at(-1)).toBe("a: stalled: it did not end");
});

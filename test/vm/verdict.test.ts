import { expect, test } from "vitest";
import { logMarker } from "../../src/vm/guest-script.ts";
import type { Frame } from "../../src/vm/serial-frames.ts";
import { type GuestReport, judge } from "../../src/vm/verdict.ts";

const token = "t";
const log = [
  `[ 1.0] ${logMarker(token)}start`,
  `[ 1.1] ${logMarker(token)}patch`,
  "[ 1.200000] livepatch: 'livepatch_x': starting patching transition",
  "[ 2.200000] livepatch: 'livepatch_x': patching complete",
  `[ 4.0] ${logMarker(token)}end`,
].join("\n");

/** The frames of a run in which everything worked. */
const good: readonly [string, number, string][] = [
  ["booted", 0, ""],
  ["module.0", 0, ""],
  ["before.0", 0, "old\n"],
  ["again.0", 0, "old\n"],
  ["load", 0, ""],
  ["name", 0, "livepatch_x\n"],
  ["patched", 0, ""],
  ["loaded.0", 0, "new\n"],
  ["disable", 0, ""],
  ["disabled", 0, ""],
  ["unload", 0, ""],
  ["after.0", 0, "old\n"],
  ["log", 0, log],
  ["done", 0, ""],
];

function report(
  frames: readonly (readonly [string, number, string])[],
  end: Partial<GuestReport["end"]> = {},
): GuestReport {
  return {
    token,
    frames: frames.map(([name, status, text]): Frame => ({ name, status, text })),
    end: { timedOut: false, exitCode: 0, stderr: "", console: "", ...end },
    timeoutSeconds: 60,
    probeLimitSeconds: 10,
    transitionLimitSeconds: 20,
    modules: ["fuse"],
    probes: ["cat /proc/x"],
    moduleName: "livepatch_file",
    staysInMemory: false,
  };
}

/** A good run with some frames replaced, cut off after `last`. */
function run(changes: Record<string, [number, string]>, last?: string): GuestReport {
  const end = last === undefined ? good.length : good.findIndex(([name]) => name === last) + 1;
  return report(
    good.slice(0, end).map(([name, status, text]) => {
      const change = changes[name];
      return change === undefined ? [name, status, text] : [name, ...change];
    }),
  );
}

const counted = [
  { object: "vmlinux", name: "a_show", symbol: "a_show" },
  { object: "fuse", name: "b_show", symbol: "b_show.isra.0" },
  { object: "vmlinux", name: "c_show", symbol: "c_show" },
];

test("calls of patched functions are those of the kernel's table; what it could not count is missing", () => {
  const { calls, remarks } = judge({
    ...run({}),
    counted,
    frames: [...run({}).frames, { name: "calls", status: 0, text: "  f0      12       1\n  f2  0  0\n  other 7 0\n" }],
  });
  expect(calls).toEqual([
    { object: "vmlinux", name: "a_show", calls: 13 },
    { object: "vmlinux", name: "c_show", calls: 0 },
  ]);
  expect(remarks).toEqual([]);
});

test("a trial in which no patched function was called says so", () => {
  const frames = [...run({}).frames, { name: "calls", status: 0, text: "  f0 0 0\n  f1 0 0\n  f2 0 0\n" }];
  const { verdict, remarks } = judge({ ...run({}), counted, frames });
  expect(verdict).toBe("passed");
  expect(remarks).toEqual([expect.stringContaining("no patched function was called")]);
});

test("all steps worked: passed", () => {
  expect(judge(run({}))).toEqual({
    verdict: "passed",
    module: "livepatch_x",
    transitionMilliseconds: 1000,
    probes: [{ command: "cat /proc/x", before: "old", loaded: "new", after: "old" }],
    kernelLog: [
      "[ 1.200000] livepatch: 'livepatch_x': starting patching transition",
      "[ 2.200000] livepatch: 'livepatch_x': patching complete",
    ],
    failure: null,
    stalledTasks: [],
    remarks: [],
  });
});

test("a module that only the patch is about, and that does not start on this machine, is a remark", () => {
  const absent: [number, string] = [1, "insmod: can't insert '/kmend/modules/0.ko': No such device\n"];
  const verdict = judge({ ...run({ "module.0": absent }), optional: [0] });
  expect(verdict).toMatchObject({ verdict: "passed", failure: null });
  expect(verdict.remarks).toEqual([
    "fuse does not start on this virtual machine by itself (No such device), so what the patch changes in it was not tried",
  ]);
  // What the user asked for, or the patch module needs, has to be there.
  expect(judge(run({ "module.0": absent }, "module.0")).failure).toContain("module fuse could not be loaded");
});

test.each([
  "insmod: can't insert '/kmend/modules/0.ko': invalid module format",
  "insmod: can't insert '/kmend/modules/0.ko': unknown symbol in module, or unknown parameter",
])("a module that the loader itself refuses is a failure: %s", (said) => {
  const verdict = judge({ ...run({ "module.0": [1, said] }, "module.0"), optional: [0] });
  expect(verdict).toMatchObject({ verdict: "failed", remarks: [] });
});

test("a module that needs one which does not start lacks its symbols, and is a remark too", () => {
  const ended = run({ "module.0": [1, "insmod: can't insert 'a': No such device"] });
  const second: Frame = { name: "module.1", status: 1, text: "insmod: can't insert 'b': unknown symbol in module" };
  const verdict = judge({ ...ended, frames: [...ended.frames, second], modules: ["fuse", "cuse"], optional: [0, 1] });
  expect(verdict.verdict).toBe("passed");
  expect(verdict.remarks).toHaveLength(2);
});

test("what the patch's own callback returned is told as that", () => {
  const said: [number, string] = [1, "insmod: can't insert '/kmend/patch.ko': Device or resource busy"];
  const refused = log.replace(
    /\n.*starting[\s\S]*/,
    "\n[ 1.2] livepatch: pre-patch callback failed for object 'vmlinux'",
  );
  expect(judge(run({ load: said, name: [0, ""], log: [0, refused] })).failure).toBe(
    "the patch module could not be loaded: the patch's own callback refused (-EBUSY)",
  );
});

test("a probe that does not return to its first output fails the run", () => {
  const verdict = judge(run({ "after.0": [0, "new\n"] }));
  expect(verdict.verdict).toBe("failed");
  expect(verdict.failure).toMatch(/does not give its first result again/);
});

test("a probe whose exit status differs in the end fails the run too", () => {
  expect(judge(run({ "after.0": [1, "old\n"] })).verdict).toBe("failed");
});

test("a probe that varies by itself is told and does not fail the run", () => {
  const verdict = judge(run({ "again.0": [0, "other\n"], "after.0": [0, "third\n"] }));
  expect(verdict.verdict).toBe("passed");
  expect(verdict.probes[0]).toMatchObject({ varies: true, after: "third" });
});

test.each([
  [127, "is not a command of the guest"],
  [124, "did not end within 10 s"],
])("a probe that ends with %i fails the run", (status, text) => {
  expect(judge(run({ "before.0": [status, ""], "again.0": [status, ""], "after.0": [status, ""] })).failure).toContain(
    text,
  );
});

test("a probe that cannot work ends the run before the load", () => {
  expect(judge(run({ "before.0": [127, "sh: x: not found"] }, "before.0")).failure).toContain("is not a command");
});

test("a probe that an oops kills is not blamed for taking too long", () => {
  const oops = log.replace("[ 4.0]", "[ 3.0] Oops: 0002 [#1]\n[ 4.0]");
  expect(judge(run({ "loaded.0": [137, ""], log: [0, oops] })).failure).toBe("the kernel oopsed: Oops: 0002 [#1]");
});

test.each<[string, [number, string], string, string]>([
  [
    "module.0",
    [1, "insmod: can't insert '/kmend/modules/0.ko': Invalid argument"],
    "module.0",
    "module fuse could not be loaded: Invalid argument",
  ],
  [
    "load",
    [1, "insmod: can't insert '/kmend/patch.ko': Exec format error\n"],
    "load",
    "the patch module could not be loaded: Exec format error",
  ],
  ["name", [0, "\n"], "name", "the module was loaded, but registered no live patch"],
  ["patched", [1, "task 7 x\n"], "patched", "the transition did not end within 20 s"],
  ["disable", [1, "sh: write error: Device or resource busy"], "disable", "could not be disabled: sh: write error"],
  ["disabled", [1, ""], "disabled", "the transition back did not end"],
  ["unload", [1, "rmmod: in use"], "unload", "could not be unloaded: rmmod: in use"],
])("a failed step %s is the reason", (name, frame, last, text) => {
  const verdict = judge(run({ [name]: frame }, last));
  expect(verdict.verdict).toBe("failed");
  expect(verdict.failure).toContain(text);
});

test.each([
  ["booted", "while it loaded module fuse"],
  ["module.0", "while the probes ran before the load"],
  ["again.0", "while it loaded the patch module"],
  ["name", "during the transition"],
  ["patched", "while the probes ran with the patch active"],
  ["disable", "while the patch was reverted"],
  ["disabled", "while it unloaded the patch module"],
  ["after.0", "after the patch module was unloaded"],
])("a guest that says nothing after %s", (last, text) => {
  const stopped = { ...run({}, last), end: { timedOut: true, exitCode: null, stderr: "", console: "" } };
  expect(judge(stopped).failure).toBe(`the guest did not finish within 60 s and was stopped ${text}`);
});

test("a panic is named, and the log comes from the console", () => {
  const console = `${log.split("\n").slice(0, 4).join("\r\n")}\r\n[ 3.0] Kernel panic - not syncing: Fatal exception\r\n`;
  const verdict = judge({ ...run({}, "patched"), end: { timedOut: false, exitCode: 0, stderr: "", console } });
  expect(verdict.failure).toBe("the guest panicked (Fatal exception) while the probes ran with the patch active");
  expect(verdict.kernelLog.at(-1)).toBe("[ 3.0] Kernel panic - not syncing: Fatal exception");
  expect(verdict.transitionMilliseconds).toBe(1000);
});

test("a warning since the load fails a run in which every step worked", () => {
  const warned = log.replace("[ 4.0]", "[ 3.0] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n[ 4.0]");
  expect(judge(run({ log: [0, warned] })).failure).toBe("a WARN() was hit: WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2");
});

test("a warning before the load says nothing about the patch", () => {
  expect(judge(run({ log: [0, `[ 0.5] WARNING: old\n${log}`] })).verdict).toBe("passed");
  expect(judge(run({ log: [0, log.replace("start", "start\n[ 1.0] WARNING: module")] })).verdict).toBe("passed");
});

test("stalled tasks come with their stacks", () => {
  const text = "task 12 kworker/0:1\n[<0>] schedule+0x5a/0xe0\n[<0>] f+0x1/0x2\ntask 13 spin ner\n";
  expect(judge(run({ patched: [1, text] }, "patched")).stalledTasks).toEqual([
    { task: 12, name: "kworker/0:1", stack: ["schedule+0x5a/0xe0", "f+0x1/0x2"] },
    { task: 13, name: "spin ner", stack: [] },
  ]);
});

test("a guest that cannot run its programs any more once the patch is enabled is told as that", () => {
  const enabled = log.replace("[ 4.0]", "[ 3.0] livepatch: enabling patch 'livepatch_x'\n[ 4.0]");
  expect(judge(run({ name: [0, "\n"], log: [0, enabled] })).failure).toContain(
    "the patch was enabled, and from then on",
  );
});

import { describe, expect, test } from "vitest";
import { findAlarm, logSince, relevantLines, transitionTime } from "../../src/vm/guest-log.ts";
import { logMarker } from "../../src/vm/guest-script.ts";

const healthy = [
  "[    1.740000] livepatch_cmdline: loading out-of-tree module taints kernel.",
  "[    1.741000] livepatch_cmdline: tainting kernel with TAINT_LIVEPATCH",
  "[    1.742000] livepatch_cmdline: module verification failed: signature and/or required key missing - tainting kernel",
  "[    1.752061] livepatch: enabling patch 'livepatch_cmdline'",
  "[    1.761976] livepatch: 'livepatch_cmdline': starting patching transition",
  "[    3.083382] livepatch: 'livepatch_cmdline': patching complete",
  "[    3.161439] livepatch: 'livepatch_cmdline': starting unpatching transition",
  "[    4.178938] livepatch: 'livepatch_cmdline': unpatching complete",
];

test("what every unsigned patch module causes is no alarm", () => {
  expect(findAlarm(healthy)).toBeUndefined();
});

describe("alarms", () => {
  test.each([
    "Kernel panic - not syncing: Fatal exception",
    "BUG: unable to handle page fault for address: ffffffffc0000000",
    "BUG: scheduling while atomic: cat/123/0x00000002",
    "kernel BUG at mm/slub.c:435!",
    "Oops: 0002 [#1] PREEMPT SMP NOPTI",
    "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP",
    "invalid opcode: 0000 [#1] PREEMPT SMP",
    "WARNING: CPU: 1 PID: 128 at fs/proc/cmdline.c:9 cmdline_proc_show+0x5/0x20",
    "------------[ cut here ]------------",
    "Call Trace:",
    "INFO: task cat:123 blocked for more than 120 seconds.",
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "refcount_t: underflow; use-after-free.",
    "livepatch: symbol 'no_such' not found in symbol table",
    "livepatch: failed to find location for function 'f'",
    "livepatch: failed to register ftrace handler for function 'f' (-16)",
    "livepatch: unresolvable ambiguity for symbol 'f' in object 'vmlinux'",
    "livepatch: Livepatch patch (p) is not compatible with the already installed livepatches.",
    "x86/modules: Skipping invalid relocation target, existing value is nonzero for type 2, loc x, val y",
    "livepatch_x: Unknown symbol si_swapinfo (err -2)",
    "livepatch_x: disagrees about version of symbol module_layout",
    "livepatch_x: version magic '6.1.0-1-amd64' should be '6.1.0-2-amd64'",
  ])("%s", (text) => {
    const line = `[    2.000000] ${text}`;
    expect(findAlarm([...healthy, line])).toMatchObject({ line });
  });
});

test.each([
  "[    2.0] clocksource: Switched to clocksource tsc",
  "[    2.0] fuse: init (API version 7.38)",
  "[    2.0] kmend_debug: debugging is on",
])("ordinary: %s", (line) => {
  expect(findAlarm([line])).toBeUndefined();
});

test("a log is cut at the marker of a step, and loses the markers", () => {
  const marker = logMarker("token");
  const log = `[ 1.0] a\r\n[ 1.1] ${marker}patch\r\n[ 1.2] b\r\n[ 1.3] ${marker}unpatch\r\n[ 1.4] c\r\n`;
  expect(logSince(log, "token", "patch")).toEqual(["[ 1.2] b", "[ 1.4] c"]);
  expect(logSince(log, "other", "patch")).toBeUndefined();
});

test("the report after an alarm is kept, ordinary lines are not", () => {
  const log = ["[ 1.0] usb: a", "[ 1.1] Oops: 0000", "[ 1.2] RIP: x", "[ 1.3] Code: y"];
  expect(relevantLines(log)).toEqual(log.slice(1));
});

test("a line that insmod's second attempt repeats is kept once", () => {
  const line = "livepatch: symbol 'f' not found in symbol table";
  expect(relevantLines([`[ 1.0] ${line}`, `[ 1.1] ${line}`])).toEqual([`[ 1.0] ${line}`]);
});

test("the transition is timed from the kernel's own time stamps", () => {
  expect(transitionTime(healthy, "livepatch_cmdline")).toBe(1321.4);
  expect(transitionTime(healthy.slice(0, 5), "livepatch_cmdline")).toBeNull();
  expect(transitionTime(healthy, "another")).toBeNull();
});

test("names in livepatch's lines are made of any words", () => {
  expect(findAlarm(["[ 7.7] livepatch: enabling patch 'livepatch_module_init_fails'"])).toBeUndefined();
  expect(findAlarm(["[ 7.7] livepatch: failed to enable patch 'good'"])?.reason).toBe("livepatch reported a failure");
});

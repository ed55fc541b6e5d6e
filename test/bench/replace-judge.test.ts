import { expect, test } from "vitest";
import { alarmsIn, judgeReplaced } from "../../bench/replace/judge.ts";
import { type Load, loads } from "../../bench/replace/loads.ts";
import type { GuestWords } from "../../bench/replace/run-replaced.ts";
import { grownSlabs } from "../../bench/replace/slabs.ts";

const slabs = (pipes: number): string =>
  `slabinfo - version: 2.1\n# name <active_objs>\npipe_inode_cache ${pipes} ${pipes + 9} 192 21 1 : tunables 0 0 0\nfilp 300 400 256 16 1 : tunables\n`;

function words(changes: Readonly<Record<string, string | [number, string]>> = {}, units: string[] = []): GuestWords {
  const usual: Record<string, string | [number, string]> = {
    stir: "0 0 aa -\n0 0 aa -\n",
    "run.0.0": "one\ntwo\n",
    "log.0.0": "",
    "slabs.before": slabs(100),
    "run.1.0": "one\ntwo\n",
    "slabs.after": slabs(150),
    done: "",
    ...changes,
  };
  const frames = Object.entries(usual).map(([name, value]) => {
    const [status, text] = typeof value === "string" ? [0, value] : value;
    return { name, status, text };
  });
  return { units, loads: ["files"], frames, end: "QEMU ended with 0", console: "", missingPrograms: [] };
}

const started = { "start.0": "", "load.0": "", "patched.0": "", "log.0": "", "end.0": "" };
const judged = (replaced: GuestWords, plain = words()) =>
  judgeReplaced(plain, replaced, ["replace_x"], loads, true).differences.map(({ where, what, lines }) => [
    where,
    what,
    lines[0],
  ]);

test("a guest that does what the one without modules did has no difference", () => {
  const { entries, differences, runs, stirred, called } = judgeReplaced(
    words(),
    words({ ...started, "target.0.3": "", called: "pipe_read\n" }, ["fs/pipe.c"]),
    ["replace_x"],
    loads,
    true,
  );
  expect(entries).toEqual([{ unit: "fs/pipe.c", outcome: "in force", transitionMilliseconds: null }]);
  expect([differences, runs, stirred, called]).toEqual([[], 2, 2, ["pipe_read"]]);
});

test.each<[string, Readonly<Record<string, string | [number, string]>>, [string, string, string]]>([
  [
    "another result of a load",
    { "run.1.0": "one\nthree\n" },
    ["files, round 2", "the load found another result", "three"],
  ],
  ["a line less", { "run.1.0": "one\n" }, ["files, round 2", "the load found another result", "1 lines in place of 2"]],
  [
    "another exit status",
    { "run.1.0": [137, "one\ntwo\n"] },
    ["files, round 2", "the load found another result", "exit status 137"],
  ],
  [
    "a result beside the loading",
    { stir: "0 0 aa -\n0 1 bb -\n" },
    ["stir", "load files found another result", "0 1 bb -"],
  ],
  ["a module that is not loaded", { ...started, "load.0": [1, "no"] }, ["fs/pipe.c", "load failed", "no"]],
  [
    "a transition without end",
    { ...started, "patched.0": [1, "task 7 sh"] },
    ["fs/pipe.c", "patched failed", "task 7 sh"],
  ],
  [
    "a warning",
    { "log.0.0": "[    1.5] WARNING: CPU: 1 PID: 7 at fs/pipe.c:9 pipe_read+0x1/0x2\n[    1.6] Call Trace:\n" },
    [
      "files, round 1",
      "a WARN() was hit: WARNING: CPU: N PID: N at fs/pipe.c:N pipe_read+N/N",
      "[    1.5] WARNING: CPU: 1 PID: 7 at fs/pipe.c:9 pipe_read+0x1/0x2",
    ],
  ],
  [
    "a cache that grows",
    { "slabs.after": slabs(9000) },
    [
      "guest",
      "memory of the kernel has grown",
      "pipe_inode_cache: 8900 objects more, 1708800 bytes; without modules 50",
    ],
  ],
])("%s is a difference", (_, changes, difference) => {
  expect(judged(words({ ...started, ...changes }, ["fs/pipe.c"]))).toEqual([difference]);
});

test("a guest that died is a difference, and so is where it died", () => {
  const { frames, ...rest } = words({}, ["fs/pipe.c"]);
  const dead = { ...rest, frames: [{ name: "start.0", status: 0, text: "" }], end: "the guest panicked (x)" };
  expect(frames.length).toBeGreaterThan(0);
  expect(judged(dead).map(([where, what]) => [where, what])).toEqual([
    ["guest", "the guest panicked (x); its last word was start.0"],
    ["fs/pipe.c", "load failed"],
  ]);
});

test("an alarm that the kernel raises without modules too is none", () => {
  const log = (time: number): string => `[  ${time}.5] WARNING: CPU: ${time} PID: ${time} at fs/x.c:9 x+0x1/0x2\n`;
  expect(judged(words({ "log.0.0": log(3) }), words({ "log.0.0": log(4) }))).toEqual([]);
});

test("what a load provokes is left out, and what stands after it is not", () => {
  const log = [
    "[ 1.0] tail invoked oom-killer: gfp_mask=0xcc0",
    "[ 1.1] Call Trace:",
    "[ 1.2] Memory cgroup out of memory: Killed process 7 (tail)",
    "[ 1.3] BUG: unable to handle page fault",
  ].join("\n");
  expect(alarmsIn(log, loads).map(({ key }) => key)).toEqual([
    "the kernel found a bug (bad access, wrong context or lockup): BUG: unable to handle page fault",
  ]);
  const without = loads.map(({ provokes: _, ...load }): Load => load);
  expect(alarmsIn(log, without)).toHaveLength(1);
});

test("a cache that grows in both guests is no leak", () => {
  expect(grownSlabs([slabs(100), slabs(5000)], [slabs(100), slabs(6000)])).toEqual([]);
  expect(grownSlabs([slabs(100), slabs(120)], [slabs(100), slabs(1500)])).toEqual([]);
  expect(grownSlabs([slabs(100), slabs(120)], [slabs(100), slabs(9000)])).toHaveLength(1);
});

test("the pace is that of the fastest turns", () => {
  const paced = words({ "pace.before": "40\n30\n90\n", "pace.after": "66\n45\n300\n" });
  expect(judgeReplaced(words(), paced, [], loads, true).pace).toBe(1.5);
  expect(judgeReplaced(words(), words(), [], loads, true).pace).toBeUndefined();
});

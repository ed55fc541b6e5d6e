import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runHost } from "./host-guest.ts";
import { exampleModule } from "./host-modules.ts";
import { Scratch, stockKernel } from "./stock-kernel.ts";

/** Some hundred starts of Node in software emulation. */
const long = describe.skipIf(process.env["KMEND_LONG_TESTS"] !== "1");
/** `load 12,boot 3` tries only these points again, after a failure. */
const only = (process.env["KMEND_TEST_KILLS"] ?? "").split(",").filter(Boolean);
const scratch = new Scratch();
afterAll(() => scratch.remove());

/**
 * Loaded before kmend, kills it with SIGKILL at a point of its way: each call that changes the system is a point just before it, and each start of a program
 * is a second one just after it, when the program goes on alone. KILL_AT counts them from one. What is gone through is written to /tmp/points.
 */
const killer = `
import childProcess from "node:child_process";
import fs from "node:fs";
import files from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

const { appendFileSync } = fs;
let left = Number(process.env.KILL_AT);
function point(text) {
  // The lock is the same for all verbs.
  if (process.env.KILL_LOCK === "" && text.includes("/run/kmend/.lock")) return;
  left -= 1;
  appendFileSync("/tmp/points", text.replace(/\\.[0-9]+\\.[0-9a-f]+\\.tmp/, ".tmp") + "\\n");
  if (left === 0) process.kill(process.pid, "SIGKILL");
}

for (const name of ["chmod", "chown", "link", "mkdir", "rename", "rm", "rmdir", "symlink", "unlink", "writeFile"]) {
  const call = files[name];
  files[name] = (...words) => {
    point(name + " " + words[0]);
    return call(...words);
  };
}
const { open } = files;
const handle = await open("/dev/null");
const handles = Object.getPrototypeOf(handle);
await handle.close();
files.open = (path, flags, ...rest) => {
  if (flags !== undefined && flags !== "r") point("open " + path);
  return open(path, flags, ...rest);
};
const { writeFile } = handles;
handles.writeFile = function (...words) {
  point("write");
  return writeFile.apply(this, words);
};
const { spawn } = childProcess;
childProcess.spawn = (program, ...rest) => {
  point("start " + program);
  const child = spawn(program, ...rest);
  point("started " + program);
  return child;
};
syncBuiltinESMExports();
`;

/**
 * Kills one verb after the other at each of its points and sees to it afterwards as an operator would, by the next command. That one runs in this process,
 * since Node starts slowly where a processor is emulated.
 */
const program = `
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { dirname } from "node:path";
import { boot, install, load, replace, uninstall, unload } from "/opt/kmend/dist/index.js";

const [file, other, old] = ["/modules/livepatch-fix.ko", "/modules/other/livepatch-fix.ko", "/modules/livepatch-old.ko"];
const folder = "/var/lib/kpatch/" + release();
const installed = folder + "/livepatch-fix.ko";
const record = "/var/lib/kmend/boot/" + release() + "/livepatch_fix";
const failures = [];
let where = "";
const fail = (text) => failures.push(where + ": " + text);
const names = (path) => (existsSync(path) ? readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory()).map(({ name }) => name) : []);
const same = (path, as) => existsSync(path) && readFileSync(path).equals(readFileSync(as));
const patched = () => readFileSync("/proc/meminfo", "utf8").includes("MemFREE");

async function well(result, ...allowed) {
  const ended = await result;
  if (ended.outcome !== "done" && !allowed.includes(ended.outcome)) fail("ends with " + JSON.stringify(ended));
}
const loadIt = () => well(load({ operands: [file] }));
const unloadIt = () => well(unload({ operands: ["livepatch_fix"] }), "unchanged");
const installIt = () => well(install({ operands: [file] }));

function clean({ loaded = false, there = false }) {
  if (patched() !== loaded) fail(loaded ? "not in force" : "in force");
  if ((names("/sys/kernel/livepatch").length > 0 || existsSync("/sys/kernel/livepatch/livepatch_fix")) !== loaded) fail("live patch");
  if (existsSync("/sys/module/livepatch_fix") !== loaded) fail("module");
  if (existsSync("/sys/module/livepatch_old")) fail("what was replaced is left");
  if (there ? !same(installed, file) || names(folder).length !== 1 : existsSync(folder)) fail("installed: " + names("/var/lib/kpatch"));
  if (names("/var/lib/kmend").length > 0) fail("records: " + names("/var/lib/kmend"));
  // Whether the time of the load is remembered depends on when it was killed.
  const left = names("/run/kmend").join(" ");
  if (left !== "" && !(loaded && left === "livepatch_fix.json")) fail("left: " + left);
}

/** What is killed, from which state, what is looked at then, and what puts it right. */
const verbs = [
  { words: ["load", file], recover: () => well(unload({ all: true })), end: {} },
  { words: ["load", file], before: () => well(unload({ all: true })), recover: loadIt, end: { loaded: true } },
  {
    words: ["replace", file],
    async before() {
      await well(unload({ all: true }));
      await well(load({ operands: [old] }));
    },
    recover: () => well(replace({ operands: [file] })),
    end: { loaded: true },
  },
  { words: ["unload", "livepatch_fix"], before: loadIt, recover: unloadIt, end: {} },
  {
    words: ["install", file],
    before: () => rmSync("/var/lib/kpatch", { recursive: true, force: true }),
    look: () => !existsSync(installed) || same(installed, file) || fail("not whole"),
    recover: installIt,
    end: { there: true },
  },
  {
    words: ["install", file],
    before: () => copyFileSync(other, installed),
    look: () => same(installed, file) || same(installed, other) || fail("neither build"),
    recover: installIt,
    end: { there: true },
  },
  {
    words: ["boot"],
    before: installIt,
    async recover() {
      await well(boot({}));
      if (!patched()) fail("not in force");
      if (names("/var/lib/kmend/boot").join(" ") !== "livepatch_fix" || !readFileSync(record, "utf8").includes("state=loaded")) fail("records: " + names("/var/lib/kmend/boot"));
      // The machine's first minute with it, which is not what this is about, is over; and nobody waits for that any more.
      rmSync(record);
      for (const pid of readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name))) {
        try {
          if (readFileSync("/proc/" + pid + "/cmdline", "utf8").includes("--confirm")) process.kill(Number(pid), "SIGKILL");
        } catch {}
      }
      await well(unload({ all: true }));
    },
    end: { there: true },
  },
  {
    words: ["uninstall", "livepatch-fix"],
    async before() {
      await installIt();
      // An earlier boot did not survive it.
      mkdirSync(dirname(record), { recursive: true });
      writeFileSync(record, "boot=earlier\\n");
    },
    recover: () => well(uninstall({ operands: ["livepatch-fix"] }), "unchanged"),
    end: {},
  },
];

/**
 * A program that was started goes on without kmend. While insmod works out the addresses, a module is to be seen nowhere, and an unload just then would find
 * nothing to do.
 */
async function programsEnd() {
  const runs = (pid) => {
    try {
      return /^(insmod|rmmod)$/.test(readFileSync("/proc/" + pid + "/comm", "utf8").trim()) && !/^State:\\s+Z/m.test(readFileSync("/proc/" + pid + "/status", "utf8"));
    } catch {
      return false;
    }
  };
  while (readdirSync("/proc").some((name) => /^[0-9]+$/.test(name) && runs(name))) await new Promise((resolve) => setTimeout(resolve, 100));
}

const only = ${JSON.stringify(only)};
const most = Math.max(...only.map((point) => Number(point.split(" ")[1])));
const counts = [];
const points = [];
for (const [index, { words, before, look, recover, end }] of verbs.entries()) {
  for (let count = 1; only.length === 0 || count <= most; count++) {
    if (only.length > 0 && !only.includes(words[0] + " " + count)) continue;
    where = words.join(" ");
    await before?.();
    rmSync("/tmp/points", { force: true });
    const words2 = ["--import", "/modules/killer.mjs", "/opt/kmend/bin/kmend", ...words];
    const run = spawnSync(process.execPath, words2, { encoding: "utf8", env: { ...process.env, KILL_AT: String(count), KILL_LOCK: index === 0 ? "1" : "" } });
    where += " " + count + " (" + readFileSync("/tmp/points", "utf8").trim().split("\\n").at(-1) + ")";
    const killed = run.signal === "SIGKILL";
    if (killed) points.push(where);
    else if (run.status !== 0) fail("ends with " + run.status + ": " + run.stderr);
    await programsEnd();
    look?.();
    await recover();
    clean(end);
    if (killed) continue;
    counts.push(count - 1);
    writeFileSync("/dev/ttyS0", words[0] + ": killed at " + (count - 1) + " points, " + failures.length + " failures\\n");
    break;
  }
}
console.log(JSON.stringify({ failures, counts, points }));
`;

interface Killed {
  readonly failures: readonly string[];
  /** Points of each verb. */
  readonly counts: readonly number[];
  readonly points: readonly string[];
}

long("kill -9 before each call that changes the system, and after the start of each program", () => {
  let result: Killed;
  beforeAll(async () => {
    const { kernel } = await stockKernel();
    const made = (...more: readonly string[]): Promise<string> =>
      exampleModule(scratch, "livepatch-fix", ["meminfo-string"], ...more);
    const run = await runHost({
      kernel,
      scratch,
      files: [
        await made(),
        await exampleModule(scratch, "livepatch-old", ["cmdline-helper"], "--no-replace"),
        scratch.file("other.ko", readFileSync(await made("--no-replace"))),
        scratch.file("killer.mjs", killer),
        scratch.file("program.mjs", program),
      ],
      processors: 1,
      timeoutSeconds: 2400,
      script: `
mkdir other
mv other.ko other/livepatch-fix.ko
step killed node program.mjs`,
    });
    expect(run.step("killed").exitCode, run.step("killed").stderr).toBe(0);
    result = run.json<Killed>("killed");
    console.log(
      `${kernel.release}: points of load, load, replace, unload, install, install, boot, uninstall: ${result.counts}`,
    );
  }, 2_500_000);

  test.skipIf(only.length > 0)("each verb was killed at each of its points", () => {
    expect(result.counts).toHaveLength(8);
    expect(Math.min(...result.counts), result.points.join("\n")).toBeGreaterThan(2);
    for (const call of [
      // By which the program holds the lock.
      "started sh",
      "writeFile /sys/kernel/livepatch",
      "rename /var",
    ]) {
      expect(result.points.join("\n")).toContain(call);
    }
  });

  test("and the next command led to a clean state", () => {
    expect(result.failures.join("\n")).toBe("");
  });
});

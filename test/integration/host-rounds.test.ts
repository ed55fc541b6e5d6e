import { afterAll, expect, test } from "vitest";
import { runHost } from "./host-guest.ts";
import { exampleModule } from "./host-modules.ts";
import { Scratch, stockKernel } from "./stock-kernel.ts";

/** Takes about half an hour in software emulation. */
const long = test.skipIf(process.env["KMEND_LONG_TESTS"] !== "1");
const rounds = 200;
const scratch = new Scratch();
afterAll(() => scratch.remove());

/** Loads and unloads in one process, and looks after each step whether it had its effect and nothing is left of it. */
const program = `
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { load, unload } from "/opt/kmend/dist/index.js";
const operands = ["/modules/livepatch-both.ko"];
const effect = () => readFileSync("/proc/meminfo", "utf8").includes("MemFREE");
const times = { load: [], unload: [] };
for (let round = 1; round <= ${rounds}; round++) {
  for (const [verb, change, wanted] of [["load", load, true], ["unload", unload, false]]) {
    const { exitCode, modules } = await change({ operands });
    if (exitCode !== 0 || effect() !== wanted || existsSync("/sys/module/livepatch_both") !== wanted) {
      console.log(JSON.stringify({ round, verb, exitCode, modules }));
      process.exit(1);
    }
    times[verb].push(modules[0].milliseconds);
  }
  if (round % 20 === 0) writeFileSync("/dev/ttyS0", "round " + round + "\\n");
}
const middle = (list) => list.sort((a, b) => a - b)[list.length >> 1];
console.log(JSON.stringify({ rounds: ${rounds}, load: middle(times.load), unload: middle(times.unload), most: Math.max(...times.load, ...times.unload) }));
`;

long(
  `${rounds} rounds of load and unload under load leave no warning and no reference`,
  async () => {
    const { kernel } = await stockKernel();
    const run = await runHost({
      kernel,
      scratch,
      files: [
        await exampleModule(scratch, "livepatch-both", ["meminfo-string", "cmdline-helper"]),
        scratch.file("rounds.mjs", program),
      ],
      timeoutSeconds: 5400,
      // Since Linux 6.3 a transition changes the code of cond_resched() in thousands of places, each of which interrupts all processors. Two busy ones that
      // are emulated in one thread wait for each other every time, and a round takes minutes.
      processors: 1,
      script: `
# Tasks that sleep in, run through and are born around the patched functions.
(while :; do cat /proc/meminfo /proc/cmdline >/dev/null; usleep 20000; done) &
(while :; do read -r line </proc/meminfo; usleep 5000; done) &
(while :; do dd if=/dev/zero of=/tmp/load bs=64k count=16 2>/dev/null; sleep 1; done) &
step rounds node rounds.mjs
shows left 'ls /sys/kernel/livepatch; ls -d /sys/module/livepatch_both; ls /run/kmend/loaded; cut -d" " -f1 /proc/modules'
`,
    });
    const { exitCode, stdout, stderr } = run.step("rounds");
    expect(exitCode, `${stdout}${stderr}`).toBe(0);
    console.log(`${kernel.release}: ${stdout.trim()}`);
    expect(run.step("left").stdout).toBe("");
    const log = run.log.join("\n");
    expect(log.split("unpatching complete").length - 1).toBeGreaterThan(0);
  },
  6_000_000,
);

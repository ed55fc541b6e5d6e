import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LoadResult } from "../../src/host/load/load.ts";
import type { UnloadResult } from "../../src/host/load/unload.ts";
import type { HostStatus } from "../../src/host/status/status.ts";
import type { HostRun } from "./host-guest.ts";
import { runHostWithFixtures } from "./host-modules.ts";
import { Scratch } from "./stock-kernel.ts";

const scratch = new Scratch();
let run: HostRun;

beforeAll(async () => {
  run = await runHostWithFixtures(["parks.ko", "patches-parks.ko"], {
    scratch,
    timeoutSeconds: 900,
    // A reader is parked for as long as the test likes, which the kernel's own watchdog of hung tasks need not be told.
    parameters: ["sysctl.kernel.hung_task_timeout_secs=0"],
    script: `
look() { shows "$1" 'ls /sys/kernel/livepatch; ls -d /sys/module/patches_parks; cat /sys/kernel/livepatch/*/enabled'; }
# park: a reader of /proc/parks waits in the function. It reads once: sendfile(2), which cat uses, looks for signals after the read, and with the one
# that livepatch sends to whom it waits for it would begin anew, in the new function. release MODULE: lets the readers of this module's version go.
park() { dd if=/proc/parks of=/tmp/parks count=1 2>/dev/null & sleep 1; }
release() { echo 1 >/sys/module/$1/parameters/released; sleep 1; echo 0 >/sys/module/$1/parameters/released; }
# A stand-in for a program that kills its caller before or after the real one has run.
killer() {
  mkdir -p /killer
  printf '#!/bin/sh\\n%s\\nkill -9 $PPID\\n' "$2" >/killer/$1
  chmod 755 /killer/$1
}
killed() { shows "$1" "PATH=/killer:$PATH node /opt/kmend/bin/kmend $2"; rm -r /killer; }

insmod parks.ko
park
step stall kmend load --timeout 1 --json patches-parks.ko
look stalled
kmend load patches-parks.ko 2>/tmp/interrupted.err &
pid=$!
until [ "$(cat /sys/kernel/livepatch/patches_parks/enabled)" = 1 ]; do sleep 1; done 2>/dev/null
step status kmend status --json
kill -INT $(pidof node)
wait $pid
echo $? | send interrupted.out 0
send interrupted.err 0 </tmp/interrupted.err
look taken-back

kmend load patches-parks.ko 2>/dev/null &
until [ "$(cat /sys/kernel/livepatch/patches_parks/enabled)" = 1 ]; do sleep 1; done 2>/dev/null
kill -9 $(pidof node)
look killed-waiting
# The reader goes when the second load holds the lock, which it takes over from the dead one, and has looked around.
(until kill -0 $(cut -d" " -f1 /run/kmend/lock); do usleep 100000; done 2>/dev/null; sleep 3; release parks) &
step adopt kmend load --json patches-parks.ko

park
step stuck kmend unload --timeout 1 --json patches_parks
look put-back
release patches_parks
killer rmmod ""
killed kill-before-rmmod "unload patches_parks"
look before-rmmod
step leftover kmend list --json
killer insmod ""
killed kill-before-insmod "load patches-parks.ko"
look before-insmod
killer insmod '/bin/busybox insmod "$@"'
killed kill-after-insmod "load patches-parks.ko"
step recovered kmend unload --all --json
look clean
`,
  });
}, 1_000_000);
afterAll(() => scratch.remove());

const inForce = "patches_parks\n/sys/module/patches_parks\n1\n";

describe("a task parked inside of a function that the patch changes", () => {
  test("load waits, says who and where, and takes the patch back", () => {
    const { exitCode } = run.step("stall");
    expect(exitCode).toBe(6);
    const { outcome, modules } = run.json<LoadResult>("stall");
    expect(outcome).toBe("stalled");
    expect(modules[0]).toMatchObject({
      name: "patches_parks",
      outcome: "stalled",
      error: { code: "TRANSITION_STALLED", why: expect.stringMatching(/^1 task has not switched since 20\d\d-/) },
      notes: expect.arrayContaining(["patches_parks was reverted and unloaded: the system is as before"]),
    });
    expect(modules[0]?.stalledTasks).toMatchObject([
      { name: "dd", kernelThread: false, schedulerState: "D", function: "parks_show", inPatchedFunction: true },
    ]);
    expect(modules[0]?.stalledTasks[0]?.advice).toContain("takes no signal");
    expect(run.step("stalled").stdout).toBe("");
  });

  test("status shows it while it lasts", () => {
    const { transition, loaded } = run.json<HostStatus>("status");
    expect(transition).toMatchObject({ name: "patches_parks", state: "enabling", pending: 1 });
    expect(transition?.total).toBeGreaterThan(20);
    expect(transition?.tasks).toMatchObject([{ name: "dd", function: "parks_show" }]);
    expect(Date.parse(transition?.since ?? "")).toBeGreaterThan(0);
    expect(loaded).toMatchObject([{ name: "patches_parks", state: "enabling" }]);
  });

  test("an interrupt takes the patch back", () => {
    expect(run.step("interrupted").stdout).toBe("130\n");
    expect(run.step("interrupted").stderr).toContain("interrupted");
    expect(run.step("taken-back").stdout).toBe("");
  });

  test("unload waits as well, and leaves the patch in force", () => {
    expect(run.step("stuck").exitCode).toBe(6);
    const [module] = run.json<UnloadResult>("stuck").modules;
    expect(module).toMatchObject({ outcome: "stalled", notes: ["patches_parks is active as before"] });
    expect(module?.stalledTasks).toMatchObject([{ name: "dd", function: "new_show" }]);
    expect(run.step("put-back").stdout).toBe(inForce);
  });
});

describe("kill -9", () => {
  test("while a load waits: the next load goes on with it", () => {
    expect(run.step("killed-waiting").stdout).toBe(inForce);
    expect(run.step("adopt").exitCode, run.step("adopt").stderr).toBe(0);
    expect(run.json<LoadResult>("adopt").modules).toMatchObject([{ outcome: "loaded" }]);
  });

  test("before rmmod: the module is told as left over, and the next load unloads it first", () => {
    expect(run.step("kill-before-rmmod").exitCode).toBe(137);
    expect(run.step("before-rmmod").stdout).toBe("/sys/module/patches_parks\n");
    expect(run.json<HostStatus>("leftover")).toMatchObject({ loaded: [], idle: [{ name: "patches_parks" }] });
    expect(run.step("kill-before-insmod").exitCode).toBe(137);
    expect(run.step("before-insmod").stdout).toBe("");
  });

  test("after insmod: unload takes it out", () => {
    expect(run.step("kill-after-insmod").exitCode).toBe(137);
    expect(run.step("recovered").exitCode, run.step("recovered").stderr).toBe(0);
    expect(run.json<UnloadResult>("recovered").modules).toMatchObject([{ name: "patches_parks", outcome: "unloaded" }]);
    expect(run.step("clean").stdout).toBe("");
  });
});

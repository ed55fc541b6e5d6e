import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ForceResult } from "../../src/host/load/force.ts";
import type { LoadResult } from "../../src/host/load/load.ts";
import type { SignalResult } from "../../src/host/load/signal.ts";
import type { UnloadResult } from "../../src/host/load/unload.ts";
import type { HostStatus } from "../../src/host/status/status.ts";
import type { HostRun } from "./host-guest.ts";
import { runHostWithFixtures } from "./host-modules.ts";
import { Scratch } from "./stock-kernel.ts";

const scratch = new Scratch();
let run: HostRun;

beforeAll(async () => {
  run = await runHostWithFixtures(["parks.ko", "patches-parks.ko", "panics.ko"], {
    scratch,
    processors: 1,
    timeoutSeconds: 1500,
    parameters: ["sysctl.kernel.hung_task_timeout_secs=0"],
    script: `
look() { shows "$1" 'ls /sys/kernel/livepatch; cat /sys/kernel/livepatch/*/enabled'; }
# loads: a load that waits in the background until the kernel is at it.
loads() {
  kmend load --timeout 600 --json patches-parks.ko >/tmp/load.out 2>/tmp/load.err &
  loader=$!
  until [ "$(cat /sys/kernel/livepatch/patches_parks/transition)" = 1 ]; do sleep 1; done 2>/dev/null
}
loaded() {
  wait $loader
  send "$1.out" $? </tmp/load.out
  send "$1.err" 0 </tmp/load.err
}
# parks FILE: a reader that sleeps in the function of the module or of the patch, and $reader is its number.
parks() {
  dd if=/proc/parks of=$1 bs=64 count=1 2>/dev/null &
  reader=$!
  until grep -q -e parks_show -e new_show /proc/$reader/stack; do sleep 1; done 2>/dev/null
}
# released MODULE READER: lets a reader go and waits for it.
released() {
  echo 1 >/sys/module/$1/parameters/released
  wait $2
  echo 0 >/sys/module/$1/parameters/released
}

insmod parks.ko
step no-transition kmend signal --json

# One reader takes signals, and one keeps the transition from its end until the first has gone.
echo 1 >/sys/module/parks/parameters/interruptible
parks /tmp/parks
first=$reader
echo 0 >/sys/module/parks/parameters/interruptible
parks /tmp/keeper
loads
step signal kmend signal --json
wait $first
shows reader 'cat /tmp/parks; cat /sys/kernel/livepatch/patches_parks/transition'
released parks $reader
loaded signalled
step unload kmend unload --json patches_parks

parks /tmp/parks
step nothing kmend force --yes-i-know patches_parks
loads
step unconfirmed kmend force patches_parks
step planned kmend force --dry-run --json patches_parks
step another kmend load --dry-run --json panics.ko
look before
step force kmend force --yes-i-know --json patches_parks
loaded forced
look after
released parks $reader
shows old-reader 'cat /tmp/parks'
echo 1 >/sys/module/patches_parks/parameters/released
shows new-reader 'cat /proc/parks'
echo 0 >/sys/module/patches_parks/parameters/released

# A task in the module's own code: a patch that is forced out of force leaves it there.
parks /tmp/parks
kmend unload --timeout 600 --json patches_parks >/tmp/unload.out 2>/tmp/unload.err &
unloader=$!
until [ "$(cat /sys/kernel/livepatch/patches_parks/enabled)" = 0 ]; do sleep 1; done 2>/dev/null
step out-unconfirmed kmend force patches_parks
step out kmend force --yes-i-know --json patches_parks
wait $unloader
send leave.out $? </tmp/unload.out
send leave.err 0 </tmp/unload.err
look left
released patches_parks $reader
shows last-reader 'cat /tmp/parks'
step list kmend list --json
step again kmend load --json patches-parks.ko
`,
  });
}, 1_600_000);
afterAll(() => scratch.remove());

describe("signal, with a task that sleeps in a function of the patch and takes signals", () => {
  test("there is nothing to signal without a transition", () => {
    expect(run.step("no-transition").exitCode).toBe(3);
    expect(run.json<SignalResult>("no-transition")).toMatchObject({ outcome: "unchanged", name: null });
  });

  test("the kernel does it by itself, while another task holds the transition up", () => {
    expect(run.json<SignalResult>("signal")).toMatchObject({ outcome: "automatic", name: "patches_parks" });
    expect(run.step("signalled").exitCode, run.step("signalled").stderr).toBe(0);
    expect(run.json<LoadResult>("signalled").modules).toMatchObject([{ outcome: "loaded", stalledTasks: [] }]);
    expect(run.step("reader").stdout).toBe("original\n1\n");
    expect(run.step("unload").exitCode).toBe(0);
  });
});

describe("force, with a task that sleeps in a function of the patch and takes no signals", () => {
  test("needs a transition", () => {
    expect(run.step("nothing").exitCode).toBe(3);
    expect(run.step("nothing").stderr).toContain("NOT_IN_TRANSITION");
  });

  test("needs a confirmation, and tells the cost and the task", () => {
    const { exitCode, stderr } = run.step("unconfirmed");
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/NOT_CONFIRMED[\s\S]*a crash may follow[\s\S]*dd \(\d+\)[\s\S]*--yes-i-know/);
    expect(run.json<ForceResult>("planned")).toMatchObject({ outcome: "planned", tasks: [{ function: "parks_show" }] });
    expect(run.step("before").stdout).toBe("patches_parks\n1\n");
  });

  test("while the transition lasts, another load is refused", () => {
    expect(run.step("another").exitCode).toBe(5);
    expect(run.json<LoadResult>("another").modules).toMatchObject([
      { name: "panics", outcome: "refused", refusals: [{ code: "TRANSITION_RUNNING" }] },
    ]);
  });

  test("ends the transition, and the load that waits for it", () => {
    expect(run.json<ForceResult>("force")).toMatchObject({
      outcome: "forced",
      steps: ["echo 1 >/sys/kernel/livepatch/patches_parks/force"],
      tasks: [{ name: "dd", schedulerState: "D", function: "parks_show", inPatchedFunction: true }],
    });
    expect(run.step("forced").exitCode, run.step("forced").stderr).toBe(0);
    expect(run.step("after").stdout).toBe("patches_parks\n1\n");
    expect(run.step("old-reader").stdout).toBe("original\n");
    expect(run.step("new-reader").stdout).toBe("patched\n");
  });

  test("out of force: the module stays in memory for the task that runs its code", () => {
    expect(run.step("out-unconfirmed").stderr).toContain("patches_parks can never be unloaded again");
    expect(run.json<ForceResult>("out")).toMatchObject({ outcome: "forced", tasks: [{ name: "dd" }] });
    expect(run.step("leave").exitCode).toBe(1);
    expect(run.json<UnloadResult>("leave").modules).toMatchObject([
      { outcome: "failed", error: { code: "MODULE_IN_USE", why: expect.stringContaining("forced") } },
    ]);
    expect(run.step("left").stdout).toBe("");
    expect(run.step("last-reader").stdout).toBe("patched\n");
    expect(run.json<HostStatus>("list")).toMatchObject({
      loaded: [],
      idle: [{ name: "patches_parks", references: 1 }],
    });
    expect(run.step("again").exitCode).toBe(1);
    expect(run.json<LoadResult>("again").modules).toMatchObject([
      { outcome: "failed", error: { code: "MODULE_IN_USE" } },
    ]);
  });
});

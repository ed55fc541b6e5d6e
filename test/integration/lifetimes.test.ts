import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import type { LoadResult } from "../../src/host/load/load.ts";
import type { UnloadResult } from "../../src/host/load/unload.ts";
import { type HostRun, runHost } from "./host-guest.ts";
import { both, callees, callers, edited, late, sleepers, sleeping, works } from "./lifetime-edits.ts";
import { build, type Edit, functionNames, Scratch, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let run: HostRun;
const built = new Map<string, BuildResult>();

async function module(name: string, edits: Record<string, Edit>, ...more: readonly string[]): Promise<string> {
  const { tree } = await stockKernel();
  const patch = scratch.patch(tree.path, edits, `livepatch-${name}`);
  const { exitCode, result, stderr } = await build([patch], scratch.folder(), "--name", `livepatch-${name}`, ...more);
  expect(exitCode, `${name}: ${JSON.stringify(result.refusals, null, 1)}\n${stderr}`).toBe(0);
  built.set(name, result);
  return result.module?.path as string;
}

function namesOf(name: string): string[] {
  return functionNames(built.get(name) as BuildResult);
}

beforeAll(async () => {
  const { kernel } = await stockKernel();
  const files = [
    await module("one", both(callers, callees("K", "VmTop")), "--no-replace"),
    await module("two", callees("Z", "VmMax"), "--no-replace"),
    await module("callers", callers, "--no-replace"),
    await module("more", both(callees("Z", "VmMax"), edited), "--no-replace"),
    await module("whole", both(callers, callees("K", "VmTop"))),
    await module("late", late),
    await module("later", late),
    await module("free", late, "--removable"),
    await module("sleepers", sleepers, "--no-replace"),
  ];
  run = await runHost({
    kernel,
    scratch,
    files,
    timeoutSeconds: 800,
    parameters: ["sysctl.kernel.hung_task_timeout_secs=0"],
    script: `
patches=/sys/kernel/livepatch
# soon COMMAND...: waits until it succeeds, for a minute at most.
soon() {
  tries=0
  until "$@" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || return 1
    sleep 0.1
  done
}
is_settled() { ! grep -q 1 $patches/*/transition; }
is_gone() { [ ! -e $patches/$1 ]; }
# Without kmend, which takes its time to start where a processor is emulated.
puts_in() { insmod livepatch-$1.ko; soon is_settled; }
takes_out() {
  echo 0 >$patches/livepatch_$1/enabled
  soon is_gone livepatch_$1
  soon rmmod livepatch_$1
}
look() { shows "look-$1" 'head -n 1 /proc/self/maps | cut -c 1-24; grep -o -e "^Kmend.*" -e "^Vm[PTM][eoa][akpx]*" /proc/self/status'; }
memory() { shows "memory-$1" 'ls /sys/kernel/livepatch; lsmod | grep "^livepatch" | tr -s " " | cut -d " " -f 1,3'; }
look stock
puts_in one
look one
step two kmend load --json livepatch-two.ko
look two
takes_out two
look one-again
takes_out one
puts_in callers
look callers
puts_in more
look more
shows cmdline 'cat /proc/cmdline'
takes_out more
takes_out callers
puts_in whole
step over-whole kmend load --json livepatch-two.ko
look whole

puts_in late
soon rmmod livepatch_whole
memory late
cat /proc/version >/dev/null
step un-late kmend unload --json livepatch_late
memory un-late
shows rmmod 'rmmod livepatch_late'
shows insmod 'insmod livepatch-late.ko'
step again kmend load --json livepatch-late.ko
step list kmend list
step info kmend info livepatch_late
worked() { [ $(dmesg | grep -c "kmend: late work") = ${works.length} ]; }
soon worked
puts_in later
step replace kmend replace --json livepatch-free.ko
memory replaced
step un-free kmend unload --json livepatch_free
memory un-free

puts_in sleepers
hostname waits
readers=
for file in ${sleeping.join(" ")}; do
  dd if=/proc/$file of=/tmp/$file bs=4096 count=1 2>/dev/null &
  readers="$readers $!"
done
for reader in $readers; do
  soon grep -q msleep /proc/$reader/stack
done
shows stacks "for reader in $readers; do sed -n 2p /proc/\\$reader/stack; done"
kmend unload --timeout 3 --json livepatch_sleepers >/tmp/unload.out 2>/tmp/unload.err &
unloader=$!
soon grep -q 0 $patches/livepatch_sleepers/enabled
sleep 3
shows states "for reader in $readers; do cat /proc/\\$reader/patch_state; done"
wait $unloader
send unload.out $? </tmp/unload.out
send unload.err 0 </tmp/unload.err
memory stalled
hostname goes
wait $readers
shows readers 'cd /tmp; tail -q -n 1 ${sleeping.join(" ")}'
takes_out sleepers
memory end
`,
  });
});
afterAll(() => scratch.remove());

/** What the readers show: the start of a line of maps, and the lines of status that the patches are about. */
function look(name: string): string {
  const { exitCode, stdout } = run.step(`look-${name}`);
  expect(exitCode, name).toBe(0);
  return stdout
    .trimEnd()
    .replace(/[0-9a-f]+-[0-9a-f]+ (.).*/, "$1")
    .replaceAll(/\s+/g, " ");
}

/** Live patches that the kernel lists, then modules with their references, newest first. */
function memory(name: string): string {
  return run.step(`memory-${name}`).stdout.trimEnd().replaceAll("livepatch_", "").replaceAll("\n", ", ");
}

describe("updates on top of each other", () => {
  test("an update has what it changes, and not the callers of that", () => {
    const callees = ["show_vma_header_prefix", "task_mem"];
    expect(namesOf("one")).toEqual(["+kmend_prefix", "proc_pid_status", "show_map_vma", ...callees]);
    expect(namesOf("callers")).toEqual(["+kmend_prefix", "proc_pid_status", "show_map_vma"]);
    expect(namesOf("two")).toEqual(callees);
    expect(namesOf("more")).toEqual(["cmdline_proc_show", ...callees]);
  });

  test("what the later update changes is what the earlier one's functions call", () => {
    expect(look("stock")).toBe("r VmPeak");
    expect(look("one")).toBe("one K Kmend: one VmTop");
    expect(run.json<LoadResult>("two").modules).toMatchObject([
      {
        outcome: "loaded",
        notes: [
          "livepatch_two covers functions of livepatch_one, whose version of them is no longer used: show_vma_header_prefix, task_mem",
        ],
      },
    ]);
    expect(look("two")).toBe("one Z Kmend: one VmMax");
  });

  test("and the earlier update's own is called again when the later one is taken out", () => {
    expect(look("one-again")).toBe("one K Kmend: one VmTop");
  });

  test("an earlier update that changes the callers only calls what the later one changes", () => {
    expect(look("callers")).toBe("one r Kmend: one VmPeak");
    expect(look("more")).toBe("one Z Kmend: one VmMax");
    expect(run.step("cmdline").stdout).toMatch(/ edited\n$/);
  });

  test("a cumulative module, whose functions call each other directly, is not covered by an update", () => {
    expect(run.step("over-whole").exitCode).toBe(4);
    const [refused] = run.json<LoadResult>("over-whole").modules;
    expect(refused?.refusals).toMatchObject([
      { code: "CALLED_DIRECTLY", why: expect.stringContaining("show_vma_header_prefix of livepatch_whole,") },
    ]);
    expect(look("whole")).toBe("one K Kmend: one VmTop");
  });
});

describe("a module of which an address may be kept", () => {
  test("is out of force after the unload and still in memory", () => {
    expect(built.get("late")?.module?.staysInMemory).toBe(true);
    expect(memory("late")).toBe("late, late 2");
    expect(run.step("un-late").exitCode).toBe(0);
    expect(run.json<UnloadResult>("un-late").modules).toMatchObject([
      { outcome: "disabled", notes: [expect.stringContaining("livepatch_late stays in memory until the next boot")] },
    ]);
    expect(memory("un-late")).toBe("late 1");
  });

  test("what comes by the addresses after that finds the code", () => {
    expect(run.log.filter((line) => line.endsWith("kmend: late work"))).toHaveLength(works.length);
  });

  test("can neither be removed nor loaded again", () => {
    expect(run.step("rmmod")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("can't unload module") });
    expect(run.step("insmod")).toMatchObject({ exitCode: 17, stderr: expect.stringContaining("File exists") });
    expect(run.step("again").exitCode).toBe(4);
    const [refused] = run.json<LoadResult>("again").modules;
    expect(refused?.refusals.map(({ code }) => code)).toEqual(["STAYS_IN_MEMORY"]);
  });

  test("list and info tell it", () => {
    expect(run.step("list").stdout).toMatch(
      /livepatch_late +inactive +replaced or reverted, stays in memory until the next boot\n/,
    );
    expect(run.step("info").exitCode, run.step("info").stderr).toBe(0);
    expect(run.step("info").stdout).toMatch(
      /lifetime +stays in memory until the next boot, since addresses of it may be kept:\n +version_proc_show \(fs\/proc\/version\.c:\d+\): it passes the address of kmend_delayed_0,/,
    );
  });

  test("is replaced and stays", () => {
    expect(run.json<LoadResult>("replace").modules).toMatchObject([
      {
        outcome: "loaded",
        replaced: ["livepatch_later"],
        notes: [expect.stringContaining("livepatch_later is replaced; its module stays in memory")],
      },
    ]);
    expect(memory("replaced")).toBe("free, free 1, later 1, late 1");
  });

  test("goes away by its author's word", () => {
    expect(built.get("free")?.module?.staysInMemory).toBe(false);
    expect(run.json<UnloadResult>("un-free").modules).toMatchObject([{ outcome: "unloaded", notes: [] }]);
    expect(memory("un-free")).toBe("later 1, late 1");
  });
});

describe("a task that sleeps in code of the patch that is no function of the kernel", () => {
  test("is in a cold part, or in a new function that its caller has left by a jump", () => {
    expect(namesOf("sleepers").filter((name) => name.startsWith("+"))).toEqual(
      expect.arrayContaining(["+kmend_far", "+kmend_helper", "+kmend_new", "+kmend_rare.cold", "+show_softirqs.cold"]),
    );
    // Of the second frame: the first is msleep().
    const frames = run.step("stacks").stdout.trimEnd().split("\n");
    expect(frames.map((line) => /(\w+)\+.* \[livepatch_sleepers\]|(seq|proc)_\w+/.exec(line)?.[0])).not.toContain(
      undefined,
    );
  });

  test("keeps the patch from being taken out, each of them", () => {
    expect(run.step("states").stdout).toBe("1\n".repeat(sleeping.length));
    expect(run.step("unload").exitCode).toBe(6);
    const [stalled] = run.json<UnloadResult>("unload").modules;
    expect(stalled).toMatchObject({
      outcome: "stalled",
      error: { code: "TRANSITION_STALLED" },
      notes: ["livepatch_sleepers is active as before"],
    });
    const tasks = stalled?.stalledTasks.filter(({ name }) => name === "dd").map((task) => task.function);
    // The kernel takes what lies behind a redirected function for a part of it: kmend_far() is in the unit of show_softirqs().
    expect(tasks).toEqual([
      "show_softirqs",
      "version_proc_show",
      "cmdline_proc_show",
      "show_softirqs",
      "execdomains_proc_show",
      "proc_dma_show",
    ]);
    expect(memory("stalled")).toBe("sleepers, sleepers 1, later 1, late 1");
  });

  test("goes on in it, and the patch can be taken out then", () => {
    expect(run.step("readers").stdout).toBe(sleeping.map((name) => `new ${name}\n`).join(""));
    expect(memory("end")).toBe("later 1, late 1");
  });
});

import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type HostRun, runHost } from "./host-guest.ts";
import { build, Scratch, stockKernel } from "./stock-kernel.ts";

/** Some hundred starts of Node in software emulation. */
const long = describe.skipIf(process.env["KMEND_LONG_TESTS"] !== "1");
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

const script = `
folder=/var/lib/kpatch/$(uname -r)
records=/var/lib/kmend/boot/$(uname -r)
fail() { echo "$*" >>/tmp/failures; }

in_force() { grep -q MemFREE /proc/meminfo && [ "$(cat /sys/kernel/livepatch/livepatch_both/enabled)" = 1 ]; }
installed() { [ "$(ls -A $folder)" = livepatch-both.ko ] && cmp -s livepatch-both.ko $folder/livepatch-both.ko; }

# clean STATE: kmend has left nothing behind but the state that is wanted: none, loaded or installed.
clean() {
  case $1 in
  loaded) in_force || fail "$where: not in force" ;;
  *)
    grep -q MemFree /proc/meminfo || fail "$where: in force"
    [ -z "$(ls /sys/kernel/livepatch)" ] || fail "$where: patched"
    [ ! -d /sys/module/livepatch_both ] || fail "$where: in memory"
    ;;
  esac
  case $1 in
  installed) installed || fail "$where: $(ls -lA $folder)" ;;
  none) [ ! -e $folder ] || fail "$where: $(ls -lA $folder)" ;;
  esac
  expected=
  [ $1 != loaded ] || expected=/run/kmend/loaded/livepatch_both.json
  found=$(find /run/kmend -type f)
  [ "$found" = "$expected" ] || fail "$where: left $found"
}

# again VERB...: the command that an operator would give next, which has to end well; with nothing left to do it ends with 3.
again() {
  kmend "$@" >/tmp/again.log 2>&1
  status=$?
  [ $status = 0 ] || { [ $status = 3 ] && [ $1 != load ] && [ $1 != install ]; } || fail "$where: kmend $*: $status $(cat /tmp/again.log)"
}

# killed BEFORE AFTER RECOVER VERB...: for each point, brings the system into the state BEFORE, kills the verb there, has RECOVER put it right, and looks
# whether that has led to the state AFTER.
killed() {
  before=$1 after=$2 recover=$3
  shift 3
  count=0
  while :; do
    count=$((count + 1))
    $before
    rm -f /tmp/points
    KILL_AT=$count node --import /modules/killer.mjs /opt/kmend/bin/kmend "$@" >/tmp/verb.log 2>&1
    status=$?
    where="$* killed at $count ($(tail -n 1 /tmp/points))"
    [ $status = 137 ] || break
    echo "$where" >>/tmp/all
    $recover
    clean $after
  done
  [ $status = 0 ] || fail "$*: ends with $status: $(cat /tmp/verb.log)"
  $recover
  clean $after
  echo "$* $((count - 1))" >>/tmp/counts
}

nothing() { :; }
load_again() { again load livepatch-both.ko; in_force || fail "$where: not in force"; }
unload_again() { again unload livepatch_both; }
unload_all() { again unload --all; }
install_again() {
  [ ! -e $folder/livepatch-both.ko ] || cmp -s livepatch-both.ko $folder/livepatch-both.ko || fail "$where: not whole"
  again install livepatch-both.ko
}
remove() { rm -rf /var/lib/kpatch; }
older() { mkdir -p $folder; cp livepatch-older.ko $folder/livepatch-both.ko; }
install_over() {
  cmp -s livepatch-both.ko $folder/livepatch-both.ko || cmp -s livepatch-older.ko $folder/livepatch-both.ko || fail "$where: neither build"
  again install livepatch-both.ko
}
uninstall_again() { again uninstall livepatch_both; }
loaded() { again load livepatch-both.ko; }
boot_again() {
  again boot
  in_force || fail "$where: not in force"
  [ "$(ls -A $records)" = livepatch_both ] || fail "$where: records $(ls -A $records)"
  grep -q state=loaded $records/livepatch_both || fail "$where: $(cat $records/livepatch_both)"
  # What waits for the machine's first minute with it, which is not what this is about, is told no more.
  for process in /proc/[0-9]*; do
    grep -q -e --confirm $process/cmdline 2>/dev/null && kill -9 \${process#/proc/}
  done
  rm $records/livepatch_both
  again unload --all
}

where=before
killed nothing none unload_all load livepatch-both.ko
killed unload_all loaded load_again load livepatch-both.ko
killed loaded none unload_again unload livepatch_both
killed remove installed install_again install livepatch-both.ko
killed older installed install_over install livepatch-both.ko
killed install_again installed boot_again boot
killed install_again none uninstall_again uninstall livepatch-both
shows failures 'cat /tmp/failures'
shows counts 'cat /tmp/counts'
shows all 'cat /tmp/all'
`;

long("kill -9 before each call that changes the system, and after the start of each program", () => {
  let run: HostRun;
  beforeAll(async () => {
    const patches = ["meminfo-string", "cmdline-helper"].map((name) =>
      fileURLToPath(new URL(`../../examples/${name}.patch`, import.meta.url)),
    );
    const { kernel } = await stockKernel();
    const made = async (wanted: readonly string[], name: string): Promise<string> => {
      const { exitCode, result, stderr } = await build(wanted, scratch.folder(), "--name", name);
      expect(exitCode, stderr).toBe(0);
      return result.module?.path as string;
    };
    run = await runHost({
      kernel,
      scratch,
      files: [
        await made(patches, "livepatch-both"),
        await made(patches.slice(0, 1), "livepatch-older"),
        scratch.file("killer.mjs", killer),
      ],
      processors: 1,
      timeoutSeconds: 2400,
      script,
    });
  }, 2_500_000);

  test("each verb came to its end after having been killed at each of its points", () => {
    const counts = run.step("counts").stdout.trim().split("\n");
    console.log(`${counts.join("\n")}\n${run.step("all").stdout}`);
    const points = run.step("all").stdout;
    expect(counts).toHaveLength(7);
    for (const call of [
      "started /bin/insmod",
      "started /bin/rmmod",
      "writeFile /sys/kernel/livepatch",
      "rename /var/lib",
    ]) {
      expect(points).toContain(call);
    }
  });

  test("and the next command led to a clean state", () => {
    expect(run.step("failures").stdout).toBe("");
  });
});

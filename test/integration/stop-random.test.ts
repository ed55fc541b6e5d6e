import { afterAll, describe, expect, test } from "vitest";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { ShippedModules } from "../../src/kernel/modules/shipped-module.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { chooseFunctions } from "../../src/stop/choose-functions.ts";
import { imageKernel } from "../../src/stop/image-kernel.ts";
import { makeStop } from "../../src/stop/make-stop.ts";
import { newestOf612, Scratch, testedKernel } from "./stock-kernel.ts";
import { runStopHost } from "./stop-host.ts";
import { suiteSources } from "./suite-sources.ts";

const scratch = new Scratch();
afterAll(() => scratch.remove());

/** So many functions are to be stopped, in modules of so many; twice as many are made, since some are hit by what the guest itself does. */
const [wanted, perModule] = [500, 10];

/** Numbers that look random and are the same each time (Park and Miller's generator). */
function* numbers(seed: number): Generator<number> {
  for (let state = seed; ; ) {
    state = (state * 48_271) % 2_147_483_647;
    yield state / 2_147_483_647;
  }
}

/** Modules that stop random functions of a kernel. @returns their files, and the names of all functions with the number of their module. */
async function randomStops(kernel: TargetKernel) {
  const image = imageKernel(kernel);
  // Who calls them is not asked: looking for that takes longer than all else.
  const symbolsNamed = (name: string) => image.symbolsNamed(name).map((symbol) => ({ ...symbol, calls: undefined }));
  const parts = { ...image, symbolsNamed };
  const modules = await ShippedModules.open(kernel.modulesDir);
  const names = [...new Set(parts.tracedNames())];
  const random = numbers(20_261_130);
  const chosen: string[] = [];
  const tried = new Set<string>();
  while (chosen.length < 2 * wanted && tried.size < names.length) {
    const name = names[Math.floor((random.next().value as number) * names.length)] as string;
    if (tried.has(name)) continue;
    tried.add(name);
    const one = { name, object: undefined, sympos: undefined, returns: undefined };
    const { functions } = await chooseFunctions(parts, modules, [one]);
    if (functions.length > 0) chosen.push(name);
  }
  const files: string[] = [];
  const lists: string[] = [];
  for (let at = 0; at < chosen.length; at += perModule) {
    const group = chosen.slice(at, at + perModule);
    const functions = group.map((name) => ({ name, object: undefined, sympos: undefined, returns: undefined }));
    const made = await makeStop(parts, { functions, name: `random${files.length}`, log: true });
    if (made.outcome === "refused") throw new Error(JSON.stringify(made.refusals));
    files.push(scratch.file(`random${files.length}.ko`, made.file));
    lists.push(...group.map((name) => `${name} ${files.length - 1}`));
  }
  return { files: [...files, scratch.file("functions", `${lists.join("\n")}\n`)], modules: files.length };
}

/** Traces all functions while a module comes and goes; then loads and unloads each module of which none was called. */
const script = (modules: number): string => `
trace=/sys/kernel/debug/tracing
gone() { i=0; while [ -d /sys/kernel/livepatch/$1 ] && [ $i -lt 3000 ]; do usleep 20000; i=$((i + 1)); done; }
settle() { i=0; while [ "$(cat /sys/kernel/livepatch/$1/transition)" = 1 ] && [ $i -lt 3000 ]; do usleep 20000; i=$((i + 1)); done; }
off() { echo 0 >/sys/kernel/livepatch/$1/enabled; gone $1; i=0; until rmmod $1 2>/dev/null || [ $i -ge 100 ]; do usleep 50000; i=$((i + 1)); done; }
cut -d' ' -f1 /modules/functions >/tmp/names
echo none_of_them >/tmp/called
# Names that ftrace does not know, as those of functions that were left out at boot, count as called.
while read -r name; do echo $name >>$trace/set_ftrace_filter || echo $name >>/tmp/called; done </tmp/names 2>/dev/null
cp /tmp/called /tmp/unknown
echo function >$trace/current_tracer
insmod /modules/random${modules - 1}.ko; settle random${modules - 1}; off random${modules - 1}
grep -c x /modules/functions | cut -d' ' -f1 | sort -u >/dev/null; sed -n 1p /sys/module/*/parameters/* >/dev/null 2>&1
dmesg | grep -c x; ls -lR /sys/module /sys/kernel/livepatch >/dev/null; find /sys/kernel /proc/self >/dev/null 2>&1; usleep 20000; sleep 5
echo 0 >$trace/tracing_on
sed -n 's/.*: \\([A-Za-z0-9_.]*\\) <-.*/\\1/p' $trace/trace | sort -u >>/tmp/called
echo nop >$trace/current_tracer
echo 1 >$trace/tracing_on
echo >$trace/set_ftrace_filter
: >/tmp/hits
number=0
: >/tmp/stopped
while [ $number -lt ${modules - 1} ] && [ $(wc -l </tmp/stopped) -lt ${wanted} ]; do
  name=random$number
  grep " $number\\$" /modules/functions | cut -d' ' -f1 >/tmp/own
  if ! grep -qxFf /tmp/called /tmp/own; then
    if insmod /modules/$name.ko; then
      settle $name
      sed -n '/^[^0]/p' /sys/module/$name/parameters/hits_* >>/tmp/hits
      off $name
      [ -d /sys/module/$name ] && echo "$name stays" >>/tmp/failed
      if [ ! -e /tmp/warned ] && dmesg | grep -q 'cut here'; then
        : >/tmp/warned
        shows warned "cat /tmp/own; dmesg | grep -A 12 'cut here'"
      fi
      cat /tmp/own >>/tmp/stopped
    else
      echo "$name was not loaded" >>/tmp/failed
    fi
  fi
  number=$((number + 1))
done
shows stopped 'cat /tmp/stopped'
shows failed 'cat /tmp/failed 2>/dev/null'
shows unknown 'cat /tmp/unknown'
shows hits 'cat /tmp/hits'
shows called 'cat /tmp/called'
shows tainted 'cat /proc/sys/kernel/tainted'
`;

const long = process.env["KMEND_LONG_TESTS"] === "1";
const backports = suiteSources("trixie-backports");

/** The kernel of a row: one of this machine's archive, or the newest of 7.3 from another suite. */
async function kernelOf(which: string): Promise<TargetKernel> {
  const [series, flavour] = which.split(" ");
  if (series === "6.12")
    return findTargetKernel({
      kernel: (await newestOf612()).replace("-amd64", `${flavour === undefined ? "" : `-${flavour}`}-amd64`),
    });
  if (series !== "7.3") return findTargetKernel({ kernel: which });
  const sources = scratch.file("backports.sources", backports as string);
  return findTargetKernel({ kernel: "newest", series, archive: { sources } });
}

const rows = [testedKernel, "6.12", "6.12 cloud", "6.12 rt", ...(backports === undefined ? [] : ["7.3"])];

describe.skipIf(!long).each(rows)("random functions of %s", (which) => {
  test("are stopped and let go while nothing calls them", { timeout: 3_600_000 }, async () => {
    const kernel = await kernelOf(which);
    const { files, modules } = await randomStops(kernel);
    const run = await runStopHost(kernel, scratch, script(modules), { files, timeoutSeconds: 3000 });
    expect(run.step("failed").stdout).toBe("");
    expect(run.step("unknown").stdout.trim().split("\n").length).toBeLessThan(20);
    // The trace works: some of so many are always called.
    expect(run.step("called").stdout.trim().split("\n").length).toBeGreaterThan(1);
    const stopped = run.step("stopped").stdout.trim().split("\n");
    expect(stopped.length).toBeGreaterThanOrEqual(wanted);
    expect(run.step("hits").stdout).toBe("");
    // TAINT_OOT_MODULE, TAINT_UNSIGNED_MODULE and TAINT_LIVEPATCH of include/linux/panic.h.
    expect(Number(run.step("tainted").stdout) & ~((1 << 12) | (1 << 13) | (1 << 15))).toBe(0);
  });
});

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BootResult } from "../../src/host/boot/boot.ts";
import type { InstallResult } from "../../src/host/installed/install.ts";
import type { LoadResult } from "../../src/host/load/load.ts";
import type { HostStatus } from "../../src/host/status/status.ts";
import { type BootEnd, DebianGuest } from "./debian-guest.ts";
import { buildFixtures, exampleModule } from "./host-modules.ts";
import { Scratch, stockKernel } from "./stock-kernel.ts";

/** Eight boots: minutes, so not with every change. */
const long = describe.skipIf(process.env["KMEND_LONG_TESTS"] !== "1");
const scratch = new Scratch();
afterAll(() => scratch.remove());

function module(name: string, patches: readonly string[], ...more: string[]): Promise<string> {
  return exampleModule(scratch, name, patches, ...more);
}

const look = `look() { shows "$1" 'grep -o -i "^memfree" /proc/meminfo; cut -c 1-9 /proc/cmdline; ls /sys/kernel/livepatch'; }
records() { shows "$1" 'cd /var/lib/kmend/boot/* 2>/dev/null && grep -H state= * 2>/dev/null'; }
# minute_over: waits until livepatch_a is trusted, for ten minutes at most.
minute_over() {
  tries=0
  while [ -e /var/lib/kmend/boot/$release/livepatch_a ] && [ $tries -lt 300 ]; do sleep 2; tries=$((tries + 1)); done
}
`;

const original = "MemFree\nconsole=t\n";
const limit = 1_800_000;

long("a machine with systemd", () => {
  let guest: DebianGuest;
  beforeAll(async () => {
    const stock = await stockKernel();
    const files = [
      await module("livepatch-a", ["meminfo-string"], "--no-replace"),
      await module("livepatch-b", ["cmdline-helper"], "--no-replace"),
      await module("livepatch-both", ["meminfo-string", "cmdline-helper"]),
    ];
    guest = await DebianGuest.create({ stock, scratch, files });
  }, 1_800_000);

  /** Starts the machine; it shuts itself down in the usual way unless told otherwise. */
  async function boot(script: string, ...parameters: string[]): Promise<BootEnd> {
    return guest.boot(`${look}${script}`, parameters);
  }

  test(
    "every verb",
    async () => {
      const ran = await boot(`
step load kmend load --json livepatch-a.ko livepatch-b.ko
look loaded
step list kmend list --json
step info kmend info livepatch_a
step status kmend status
step prometheus kmend status --prometheus -
step signal kmend signal
step force kmend force --yes-i-know livepatch_a
step replace kmend replace livepatch-both.ko
look replaced
step unload kmend unload --all
look unloaded
step install kmend install --json livepatch-both.ko
step check kmend check
step by-name kmend load livepatch-both
step uninstall kmend uninstall livepatch-both
step unload-kpatch kpatch unload livepatch-both
step install-kpatch kpatch install livepatch-a.ko
step list-kpatch kpatch list
step dry-run kmend boot --dry-run`);
      expect(ran.step("load").exitCode, ran.said).toBe(0);
      expect(ran.step("loaded").stdout).toBe("MemFREE\nconsole=(\nlivepatch_a\nlivepatch_b\n");
      expect(ran.json<HostStatus>("list").loaded).toHaveLength(2);
      for (const name of ["info", "status", "prometheus", "replace", "unload", "by-name", "uninstall", "dry-run"]) {
        expect(ran.step(name).exitCode, `${name}: ${ran.step(name).stderr}`).toBe(0);
      }
      expect([ran.step("signal").exitCode, ran.step("force").exitCode, ran.step("check").exitCode]).toEqual([3, 3, 1]);
      expect(ran.step("replaced").stdout).toBe("MemFREE\nconsole=(\nlivepatch_both\n");
      expect(ran.step("unloaded").stdout).toBe(original);
      expect(ran.json<InstallResult>("install").boot).toMatchObject({
        service: { unit: "kmend.service", state: "enabled" },
        initramfs: "none",
      });
      expect(ran.step("unload-kpatch").exitCode, ran.step("unload-kpatch").stderr).toBe(0);
      expect(ran.step("install-kpatch").exitCode, ran.step("install-kpatch").stderr).toBe(0);
      expect(ran.step("list-kpatch").stdout).toMatch(/Installed patch modules:\nlivepatch_a \(/);
    },
    limit,
  );

  test(
    "the service loads what was installed before the reboot; kill -9 of it at any moment is made good by the next call",
    async () => {
      const ran = await boot(`
look booted
records first
step check kmend check
: >/tmp/failures
fail() { echo "$*" >>/tmp/failures; }
for delay in 0.5 0.9 1.3 1.8 2.4; do
  kmend unload --all >/dev/null 2>&1
  kmend boot >/dev/null 2>&1 &
  pid=$!
  sleep $delay
  kill -9 $pid
  wait $pid
  kmend boot >/tmp/boot.log 2>&1 || fail "boot killed after $delay: $(cat /tmp/boot.log)"
  [ "$(cat /sys/kernel/livepatch/livepatch_a/enabled)" = 1 ] || fail "boot killed after $delay: not in force"
  [ "$(ls -A /var/lib/kmend/boot/*)" = livepatch_a ] || fail "boot killed after $delay: $(ls -A /var/lib/kmend/boot/*)"
done 2>/dev/null
shows failures 'cat /tmp/failures'
minute_over
records minute-over
sync
echo c >/proc/sysrq-trigger`);
      expect(ran.step("booted").stdout, ran.said).toBe("MemFREE\nconsole=t\nlivepatch_a\n");
      expect(ran.step("first").stdout).toBe("livepatch_a:state=loaded\n");
      expect(ran.step("check").exitCode).toBe(0);
      expect(ran.step("failures").stdout).toBe("");
      expect(ran.step("minute-over").stdout).toBe("");
      expect(ran.end.console).toContain("sysrq triggered crash");
    },
    limit,
  );

  test(
    "a module that the machine has lived with for a minute is not blamed for a crash; then it goes into the initramfs",
    async () => {
      const ran = await boot(`
look booted
step install kmend install --initramfs --json livepatch-a.ko
shows plan 'cat /var/lib/kmend/initramfs/*'`);
      expect(ran.step("booted").stdout, ran.said).toBe("MemFREE\nconsole=t\nlivepatch_a\n");
      expect(ran.step("install").exitCode, ran.step("install").stderr).toBe(0);
      expect(ran.json<InstallResult>("install").boot.initramfs).toBe("updated");
      expect(ran.step("plan").stdout).toMatch(/^livepatch_a livepatch-a\.ko [0-9a-f]{64} [0-9a-f]{40} -\n$/);
    },
    limit,
  );

  test.each(["kmend.enable=0", "kpatch.enable=0"])(
    "%s switches the initramfs, the service and kmend boot off",
    async (word) => {
      const script = `
look booted
shows service 'systemctl is-active kmend.service; dmesg | grep -o "kmend: .*"'
step boot kmend boot --json
look after`;
      const ran = await boot(script, word);
      expect(ran.step("booted").stdout, ran.said).toBe(original);
      expect(ran.step("service").stdout).toBe(`inactive\nkmend: ${word}: nothing is loaded\n`);
      expect(ran.json<BootResult>("boot")).toMatchObject({ switchedOff: word, modules: [] });
      expect(ran.step("after").stdout).toBe(original);
    },
    limit,
  );
});

long("a machine whose initramfs loads live patches, one of which brings it down", () => {
  let guest: DebianGuest;
  beforeAll(async () => {
    const stock = await stockKernel();
    guest = await DebianGuest.create({
      stock,
      scratch,
      files: [
        await module("livepatch-a", ["meminfo-string"], "--no-replace"),
        join(await buildFixtures(stock.tree, scratch), "panics.ko"),
      ],
      prepare: 'kmend install --kernel "$release" --initramfs /modules/livepatch-a.ko /modules/panics.ko',
    });
  }, 1_800_000);

  test(
    "they are in force before systemd starts, and the service takes them over",
    async () => {
      const ran = await guest.boot(`${look}
look booted
shows log 'dmesg | grep -o -e "kmend: .*" -e "systemd 2.*running in system mode"'
step boot kmend boot --json
shows root 'grep -o "^/dev/vda / ext4 r[ow]" /proc/mounts; systemctl is-active kmend.service'
records pending
cat /proc/version`);
      expect(ran.step("booted").stdout, ran.said).toBe("MemFREE\nconsole=t\nlivepatch_a\npanics\n");
      const [first, second, third] = ran.step("log").stdout.split("\n");
      expect([first, second]).toEqual(["kmend: livepatch_a is in force", "kmend: panics is in force"]);
      expect(third).toMatch(/^systemd/);
      expect(ran.json<LoadResult>("boot").modules).toMatchObject([
        { name: "livepatch_a", outcome: "already" },
        { name: "panics", outcome: "already" },
      ]);
      expect(ran.step("root").stdout).toBe("/dev/vda / ext4 rw\nactive\n");
      expect(ran.step("pending").stdout).toBe("livepatch_a:state=loaded\npanics:state=loaded\n");
      expect(ran.end.console).toContain("Kernel panic - not syncing: a bad live patch");
    },
    limit,
  );

  test(
    "at the next boot neither the initramfs nor the service loads them; what is loaded by hand is trusted after a minute",
    async () => {
      const ran = await guest.boot(`${look}
look booted
shows log 'dmesg | grep -o "kmend: .*"'
step list kmend list
step check kmend check
shows service 'systemctl is-active kmend.service'
step load kmend load livepatch_a
minute_over
records trusted`);
      expect(ran.step("booted").stdout, ran.said).toBe(original);
      expect(ran.step("log").stdout).toMatch(/livepatch_a is held back[\s\S]*panics is held back/);
      expect(ran.step("list").stdout).toMatch(/panics +\S+ \(running\) +held back/);
      expect(ran.step("check").exitCode).toBe(1);
      expect(ran.step("service").stdout).toBe("failed\n");
      expect(ran.step("load").exitCode, ran.step("load").stderr).toBe(0);
      expect(ran.step("trusted").stdout).toBe("panics:state=loaded\n");
      const again = await guest.boot(`${look}
look booted
shows log 'dmesg | grep -o "kmend: .*"'`);
      expect(again.step("booted").stdout, again.said).toBe("MemFREE\nconsole=t\nlivepatch_a\n");
      expect(again.step("log").stdout).toMatch(/^kmend: livepatch_a is in force\nkmend: panics is held back/);
    },
    2 * limit,
  );
});

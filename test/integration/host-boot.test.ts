import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LoadResult } from "../../src/host/load/load.ts";
import type { HostStatus } from "../../src/host/status/status.ts";
import { type BootEnd, DebianGuest } from "./debian-guest.ts";
import { buildFixtures, exampleModule } from "./host-modules.ts";
import { Scratch, stockKernel } from "./stock-kernel.ts";

/** Two boots of a machine with systemd take more than a minute in software emulation. */
const long = describe.skipIf(process.env["KMEND_LONG_TESTS"] !== "1");
const scratch = new Scratch();
afterAll(() => scratch.remove());

function patchModule(): Promise<string> {
  return exampleModule(scratch, "livepatch-a", ["meminfo-string"], "--no-replace");
}

long("a live patch that brings the machine down within its first minute", () => {
  let crashed: BootEnd;
  let after: BootEnd;

  beforeAll(async () => {
    const stock = await stockKernel();
    const guest = await DebianGuest.create({
      stock,
      scratch,
      files: [await patchModule(), join(await buildFixtures(stock.tree, scratch), "panics.ko")],
      prepare: 'kmend install --kernel "$release" /modules/livepatch-a.ko /modules/panics.ko',
    });
    crashed = await guest.boot(`
shows meminfo 'grep -o -i "^memfree" /proc/meminfo; ls /sys/kernel/livepatch'
shows records 'cd /var/lib/kmend/boot/*; grep -H state= *'
cat /proc/version`);
    after = await guest.boot(`
step list kmend list --json
step text kmend list
step check kmend check
shows service 'systemctl is-active kmend.service; systemctl is-enabled kmend.service; journalctl -b -u kmend.service -o cat'
shows meminfo 'grep -o -i "^memfree" /proc/meminfo'
step load kmend load livepatch_a
step uninstall kmend uninstall panics
step recheck kmend check`);
  }, 1_800_000);

  test("the service loads what is installed, each recorded before", () => {
    expect(crashed.step("meminfo").stdout, crashed.said).toBe("MemFREE\nlivepatch_a\npanics\n");
    expect(crashed.step("records").stdout).toBe("livepatch_a:state=loaded\npanics:state=loaded\n");
  });

  test("a machine that died of it does not load it again, and says so", () => {
    expect(crashed.end.console).toContain("Kernel panic - not syncing: a bad live patch");
    expect(after.step("meminfo").stdout).toBe("MemFree\n");
    const { installed, loaded } = after.json<HostStatus>("list");
    expect(loaded).toEqual([]);
    expect(installed.map(({ name, state }) => `${name} ${state}`)).toEqual([
      "livepatch_a held back",
      "panics held back",
    ]);
    expect(after.step("text").stdout).toMatch(
      /panics +\S+ \(running\) +held back: the machine went down within a minute/,
    );
    expect(after.step("check").exitCode).toBe(1);
    const [active, enabled, ...journal] = after.step("service").stdout.split("\n");
    expect([active, enabled]).toEqual(["failed", "enabled"]);
    expect(journal.join("\n")).toMatch(/HELD_BACK/);
  });

  test("by hand the good one is loaded, and the bad one is removed", () => {
    expect(after.step("load").exitCode, after.step("load").stderr).toBe(0);
    expect(after.step("uninstall").exitCode).toBe(0);
    expect(after.step("recheck").exitCode).toBe(0);
  });
});

long("an initramfs that dracut made", () => {
  test("loads what is installed, and the service takes it over", async () => {
    const stock = await stockKernel();
    const guest = await DebianGuest.create({
      stock,
      scratch,
      files: [await patchModule()],
      maker: "dracut",
      prepare: 'kmend install --kernel "$release" --initramfs /modules/livepatch-a.ko',
    });
    const ran = await guest.boot(`
shows meminfo 'grep -o -i "^memfree" /proc/meminfo'
shows log 'dmesg | grep -o -e "kmend: .*" -e "systemd.*running in system mode"'
shows records 'cd /var/lib/kmend/boot/*; grep -H state= *'
step boot kmend boot --json
shows root 'grep -o "^/dev/vda / ext4 r[ow]" /proc/mounts; systemctl is-active kmend.service'`);
    expect(ran.step("meminfo").stdout, ran.said).toBe("MemFREE\n");
    expect(ran.step("log").stdout).toMatch(/running in system mode\nkmend: livepatch_a is in force\nsystemd/);
    expect(ran.step("records").stdout).toBe("livepatch_a:state=loaded\n");
    expect(ran.json<LoadResult>("boot").modules).toMatchObject([{ name: "livepatch_a", outcome: "already" }]);
    expect(ran.step("root").stdout).toBe("/dev/vda / ext4 rw\nactive\n");
  }, 1_800_000);
});

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DebianGuest } from "./debian-guest.ts";
import { Scratch, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
afterAll(() => scratch.remove());
const limit = 1_800_000;

/** Its modules are in one folder, so their list says so. */
const flat = 'cd "/usr/lib/modules/$release" && ls kernel | sed s,^,kernel/, >modules.order';

describe.skipIf(process.env["KMEND_LONG_TESTS"] !== "1")("a machine with systemd", () => {
  let guest: DebianGuest;
  beforeAll(async () => {
    guest = await DebianGuest.create({ stock: await stockKernel(), scratch, files: [], prepare: flat });
  }, limit);

  test(
    "ends a stop by a timer, and loads an installed one again",
    async () => {
      const first = await guest.boot(`
step for kmend stop userfaultfd_ioctl --for 30s --json
shows timer 'systemctl list-timers --all --no-legend | grep -o "kmend-stop-[a-z_]*-"'
shows loaded 'ls /sys/kernel/livepatch'
tries=0
while [ -e /sys/module/stop_userfaultfd_ioctl ] && [ $tries -lt 300 ]; do sleep 1; tries=$((tries + 1)); done
shows ended 'ls /sys/kernel/livepatch; systemctl list-units --all --no-legend "kmend-stop-*"'
step install kmend stop userfaultfd_ioctl --install`);
      expect(first.step("for").exitCode, first.step("for").stderr).toBe(0);
      expect(first.step("timer").stdout).toContain("kmend-stop-stop_userfaultfd_ioctl-");
      expect(first.step("loaded").stdout).toBe("stop_userfaultfd_ioctl\n");
      expect(first.step("ended").stdout).toBe("");
      expect(first.step("install").exitCode, first.step("install").stderr).toBe(0);

      const second = await guest.boot(`
shows loaded 'ls /sys/kernel/livepatch'
step list kmend list
step uninstall kmend uninstall stop-userfaultfd_ioctl
step unload kmend unload stop-userfaultfd_ioctl`);
      expect(second.step("loaded").stdout).toBe("stop_userfaultfd_ioctl\n");
      expect(second.step("list").stdout).toContain("stop of userfaultfd_ioctl");
      for (const name of ["uninstall", "unload"]) expect(second.step(name).exitCode).toBe(0);

      const third = await guest.boot("shows loaded 'ls /sys/kernel/livepatch'");
      expect(third.step("loaded").stdout).toBe("");
    },
    limit,
  );
});

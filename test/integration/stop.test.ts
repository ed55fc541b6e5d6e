import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { build } from "../../src/build/build.ts";
import type { HostStatus } from "../../src/host/status/status.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { kmend } from "../cli/captured.ts";
import type { HostRun } from "./host-guest.ts";
import { newestOf612, Scratch, stockKernel, testedKernel } from "./stock-kernel.ts";
import { runStopHost } from "./stop-host.ts";

const scratch = new Scratch();
afterAll(() => scratch.remove());
const { EPERM, EACCES } = constants.errno;
/** Node does not name it; include/uapi/asm-generic/errno.h. */
const ENOKEY = 126;

/** One stop of functions with each kind of result. */
const all = "ptrace_attach userfaultfd_ioctl ptrace_may_access lookup_user_key=ERR_PTR(-ENOKEY) arch_report_meminfo";
const quoted = all.replace(/\S*\(\S*/, "'$&'");
const features = ["attach", "userfault", "link", "key"];
const probes = (when: string): string =>
  `${features.map((feature) => `probe ${feature}.${when} ${feature}`).join("\n")}
shows direct.${when} 'grep -c DirectMap /proc/meminfo'`;

/** What a guest does with stops. @param fix a cumulative module that names CVE-2026-1111. @param other one that names nothing. */
const script = (fix: string, other: string): string => `
${probes("before")}
step stop kmend stop ${quoted} --log --name stop-all --reason 'CVE-2026-1111: a trial'
${probes("during")}
step status kmend status --json
step list kmend list
step info kmend info stop-all
step again kmend stop ${quoted} --log --name stop-all --reason 'CVE-2026-1111: a trial'
step other kmend load ${other}
step fix kmend load ${fix}
step fixed kmend status --json
${probes("fixed")}
step unload kmend unload --all
${probes("after")}

step forbidden kmend stop mutex_lock schedule nothing_there
step module kmend stop --object algif_hash hash_sendmsg --return -EACCES
shows waiting 'kmend status'
modules libsha256 sha256_generic af_alg algif_hash
probe hash.stopped hash
step gone kmend unload stop-hash_sendmsg
probe hash.after hash
step loaded kmend stop algif_hash:hash_sendmsg
probe hash.again hash
step end kmend unload stop-hash_sendmsg

step for kmend stop userfaultfd_ioctl --for 5s --json
shows until 'kmend list'
shows expired 'i=0; while [ -d /sys/module/stop_userfaultfd_ioctl ] && [ $i -lt 120 ]; do sleep 1; i=$((i + 1)); done; ls /sys/module | grep -c stop_'
probe userfault.expired userfault
step install kmend stop userfaultfd_ioctl --install
step off kmend unload stop-userfaultfd_ioctl
step boot kmend boot
probe userfault.boot userfault
step uninstall kmend uninstall stop-userfaultfd_ioctl
step last kmend unload --all
shows rest 'ls /sys/kernel/livepatch /run/kmend/stops | grep stop_; grep . /proc/sys/kernel/tainted'
step time kmend stop userfaultfd_ioctl -o /tmp/x.ko --json
`;

/** Modules that take the place of a stop. */
async function replacements(): Promise<[string, string]> {
  const patches = [fileURLToPath(new URL("../../examples/meminfo-string.patch", import.meta.url))];
  const made = [];
  for (const [name, cves] of [
    ["livepatch-fix", ["CVE-2026-1111"]],
    ["livepatch-other", []],
  ] as const) {
    const { module } = await build({ patches, kernel: testedKernel, name, cves, output: scratch.folder() });
    made.push(module?.path ?? "");
  }
  return made as [string, string];
}

describe("a host without compiler, headers, packages and image", () => {
  let run: HostRun;
  beforeAll(async () => {
    const { kernel } = await stockKernel();
    const files = await replacements();
    run = await runStopHost(kernel, scratch, script("livepatch-fix.ko", "livepatch-other.ko"), { files });
  }, 1_800_000);
  const out = (name: string): string => run.step(name).stdout.trim();

  test("functions of each kind of result are stopped, and work again after it", () => {
    for (const when of ["before", "fixed", "after"]) {
      expect(features.map((feature) => out(`${feature}.${when}`))).toEqual(["ok", "ok", "ok", "ok"]);
      expect(Number(out(`direct.${when}`))).toBeGreaterThan(0);
    }
    expect(run.step("stop").exitCode, run.step("stop").stderr).toBe(0);
    expect(features.map((feature) => out(`${feature}.during`))).toEqual([
      ...[`attach ${EPERM}`, `ioctl ${EPERM}`, `readlink ${EACCES}`, `keyctl ${ENOKEY}`],
    ]);
    expect(out("direct.during")).toBe("0");
  });

  test("calls are counted and reported, and the status tells why, by whom and since when", () => {
    const [loaded] = run.json<HostStatus>("status").loaded;
    expect(loaded).toMatchObject({
      name: "stop_all",
      state: "enabled",
      since: expect.stringMatching(/^\d{4}-/),
      cves: [],
    });
    expect(loaded?.stop).toMatchObject({
      reason: "CVE-2026-1111: a trial",
      by: "root",
      cves: ["CVE-2026-1111"],
      until: null,
    });
    const counts = loaded?.stop?.functions.map(({ name, returns, hits }) => [name, returns, (hits ?? 0) > 0]);
    expect(counts).toEqual([
      ["ptrace_attach", "-EPERM", true],
      ["userfaultfd_ioctl", "-EPERM", true],
      ["ptrace_may_access", "false", true],
      ["lookup_user_key", "ERR_PTR(-ENOKEY)", true],
      ["arch_report_meminfo", "nothing", true],
    ]);
    expect(
      run.log.some((line) => /stop_all: \w+ is stopped, called from \w+\+0x/.test(line)),
      run.log.join("\n"),
    ).toBe(true);
    expect(out("list")).toMatch(
      /stop_all\s+enabled\s+since .*stop of ptrace_attach, .*; reason: CVE-2026-1111: a trial; by root; called \d+ times/,
    );
    expect(out("info")).toContain("stop: functions return at once, calls are counted and reported");
    expect(run.step("again").stdout).toContain("already there");
  });

  test("a cumulative module ends a stop only when it fixes what that was for", () => {
    expect(run.step("other").exitCode).toBe(4);
    expect(run.step("other").stderr).toContain("ENDS_STOP");
    expect(run.step("other").stderr).toContain("does not fix CVE-2026-1111");
    expect(run.step("fix").exitCode, run.step("fix").stderr).toBe(0);
    expect(run.step("fix").stderr).toContain("the stop stop_all ends: this module fixes CVE-2026-1111");
    expect(run.json<HostStatus>("fixed").loaded.map(({ name }) => name)).toEqual(["livepatch_fix"]);
  });

  test("what must not be stopped is refused, all of it", () => {
    const { exitCode, stderr } = run.step("forbidden");
    expect(exitCode).toBe(4);
    expect(stderr.match(/refused\[\w+\]: \w+/g)).toEqual([
      "refused[NEVER_STOPPED]: mutex_lock",
      "refused[NEVER_STOPPED]: schedule",
      "refused[NO_SUCH_FUNCTION]: nothing_there",
    ]);
  });

  test("a function of a module is stopped before and after the module is loaded", () => {
    expect(run.step("module").exitCode, run.step("module").stderr).toBe(0);
    expect(out("waiting")).toContain("waiting, returns -EACCES");
    expect(out("hash.stopped")).toBe(`send ${EACCES}`);
    expect([out("hash.after"), out("hash.again")]).toEqual(["ok", `send ${EPERM}`]);
    for (const name of ["gone", "loaded", "end"]) expect(run.step(name).exitCode, run.step(name).stderr).toBe(0);
  });

  test("a stop ends by itself after its time", () => {
    expect(run.step("for").exitCode, run.step("for").stderr).toBe(0);
    expect(run.json<{ until: string }>("for").until).toMatch(/^\d{4}-.*Z$/);
    expect(out("expired")).toBe("0");
    expect(out("userfault.expired")).toBe("ok");
  });

  test("an installed one is loaded again at boot", () => {
    for (const name of ["install", "off", "boot", "uninstall", "last"])
      expect(run.step(name).exitCode, run.step(name).stderr).toBe(0);
    expect(out("userfault.boot")).toBe(`ioctl ${EPERM}`);
  });

  test("nothing is left but the taint of out-of-tree and live patch modules", () => {
    const [tainted, ...others] = out("rest").split("\n").reverse();
    expect(others).toEqual([]);
    // TAINT_OOT_MODULE, TAINT_UNSIGNED_MODULE and TAINT_LIVEPATCH of include/linux/panic.h.
    expect(Number(tainted) & ~((1 << 12) | (1 << 13) | (1 << 15))).toBe(0);
  });
});

/** Releases of the other kinds of kernels: each is fetched. */
async function otherKernels(): Promise<string[]> {
  const plain = await newestOf612();
  return [plain, plain.replace("-amd64", "-cloud-amd64"), plain.replace("-amd64", "-rt-amd64")];
}

describe.skipIf(process.env["KMEND_LONG_TESTS"] !== "1")("other kernels", () => {
  test("stop what they are told to, and let it go", { timeout: 3_600_000 }, async () => {
    for (const release of await otherKernels()) {
      const kernel: TargetKernel = await findTargetKernel({ kernel: release });
      const run = await runStopHost(
        kernel,
        scratch,
        `${probes("before")}
step stop kmend stop ${quoted} --log --name stop-all
${probes("during")}
step unload kmend unload --all
${probes("after")}`,
      );
      expect(run.step("stop").exitCode, run.step("stop").stderr).toBe(0);
      const seen = (when: string): string[] => features.map((feature) => run.step(`${feature}.${when}`).stdout.trim());
      expect(seen("during"), release).toEqual([
        ...[`attach ${EPERM}`, `ioctl ${EPERM}`, `readlink ${EACCES}`, `keyctl ${ENOKEY}`],
      ]);
      expect(seen("after"), release).toEqual(["ok", "ok", "ok", "ok"]);
    }
  });
});

test("try shows the effect of a stop in a virtual machine", async () => {
  const words = ["--stop", "arch_report_meminfo", "--probe", "grep -c DirectMap /proc/meminfo", "--json"];
  const { exitCode, stdout, stderr } = await kmend("try", ...words, "--kernel", testedKernel);
  expect(exitCode, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    verdict: "passed",
    module: "stop_arch_report_meminfo",
    probes: [{ loaded: "0" }],
  });
});

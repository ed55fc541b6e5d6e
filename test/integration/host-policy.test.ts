import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { LoadResult } from "../../src/host/load.ts";
import { signModule } from "../../src/update/sign-module.ts";
import { type HostRun, runHost } from "./host-guest.ts";
import { build, Scratch, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let run: HostRun;

/** The module with a signature of a key that no kernel knows. */
async function signed(path: string): Promise<string> {
  const folder = scratch.folder();
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody"];
  execFileSync("openssl", [...words, "-keyout", key, "-out", certificate], { stdio: "pipe" });
  return scratch.file("livepatch-signed.ko", await signModule(readFileSync(path), { key, certificate }));
}

beforeAll(async () => {
  const { kernel } = await stockKernel();
  const patch = fileURLToPath(new URL("../../examples/meminfo-string.patch", import.meta.url));
  const { exitCode, result, stderr } = await build([patch], scratch.folder(), "--name", "livepatch-signed");
  expect(exitCode, stderr).toBe(0);
  const unsigned = result.module?.path as string;
  const foreign = await signed(unsigned);
  run = await runHost({
    kernel,
    scratch,
    files: [foreign, scratch.file("unsigned.ko", readFileSync(unsigned))],
    parameters: ["module.sig_enforce=1", "lsm=lockdown", "lockdown=integrity"],
    script: `
mount -t securityfs securityfs /sys/kernel/security
step unsigned kmend load --json unsigned.ko
step foreign kmend load --json ${basename(foreign)}
echo nobody:x:65534:65534::/:/bin/sh >>/etc/passwd
shows list-nobody 'su nobody -c "kmend list"'
shows load-nobody 'su nobody -c "kmend load /modules/unsigned.ko"'
shows left 'ls /sys/kernel/livepatch; ls -d /sys/module/livepatch_signed'
`,
  });
});
afterAll(() => scratch.remove());

test("a module without a signature is refused before the kernel is asked", () => {
  expect(run.step("unsigned").exitCode).toBe(7);
  expect(run.json<LoadResult>("unsigned").modules[0]).toMatchObject({
    outcome: "refused",
    refusals: [{ code: "UNSIGNED", why: expect.stringContaining("module.sig_enforce, lockdown: integrity") }],
  });
});

test("the kernel does not know the key of a signature", () => {
  expect(run.step("foreign").exitCode).toBe(7);
  expect(run.json<LoadResult>("foreign").modules[0]).toMatchObject({
    outcome: "failed",
    error: { code: "LOAD_FORBIDDEN", why: expect.stringContaining("of a key that it trusts") },
  });
  expect(run.step("left").stdout).toBe("");
});

test("anybody may look, and only root may change", () => {
  expect(run.step("list-nobody").exitCode, run.step("list-nobody").stderr).toBe(0);
  expect(run.step("list-nobody").stdout).toContain("Loaded patch modules:\n  none");
  expect(run.step("load-nobody").exitCode).toBe(5);
  expect(run.step("load-nobody").stderr).toContain("NOT_ROOT");
});

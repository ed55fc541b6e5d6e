import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { run } from "../../src/support/run.ts";
import { tryModule } from "../../src/vm/try.ts";
import type { TryOptions, TryResult } from "../../src/vm/try-types.ts";
import { build, replace, Scratch, stockKernel } from "./stock-kernel.ts";

const fixtures = fileURLToPath(new URL("../fixtures/patch-modules", import.meta.url));
const probe = "cat /proc/cmdline";
let folder: string;
let kernel: TargetKernel;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "kmend-test-try-"));
  cpSync(fixtures, folder, { recursive: true });
  const names = readdirSync(fixtures).filter((name) => name.endsWith(".c"));
  writeFileSync(join(folder, "Makefile"), `obj-m := ${names.map((name) => name.replace(/\.c$/, ".o")).join(" ")}\n`);
  // With the compiler of all other tests: a tree that is prepared for another one takes the place of theirs.
  const stock = await stockKernel();
  kernel = stock.kernel;
  const { tree } = stock;
  await run("make", [...tree.makeArguments, `M=${folder}`, "modules"], { cwd: tree.path });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function tryFixture(name: string, options: Partial<TryOptions> = {}): Promise<TryResult> {
  return tryModule({ kernel, modulePath: join(folder, `${name}.ko`), probes: [probe], timeoutSeconds: 60, ...options });
}

test("a module that works passes, and its probes show the effect", async () => {
  const result = await tryFixture("replaces", {
    probes: [probe, "cat /proc/uptime", 'echo "it\'s"; echo err >&2; false', "printf '\\001\\n\\n'"],
  });
  expect(result).toMatchObject({
    schema: 1,
    verdict: "passed",
    kernel: kernel.release,
    module: "replaces",
    failure: null,
  });
  expect(result.transitionMilliseconds).toBeGreaterThan(0);
  const [cmdline, uptime, both, bytes] = result.probes;
  expect(cmdline).toMatchObject({ command: probe, before: expect.stringContaining("console="), loaded: "replaced" });
  expect(cmdline?.after).toBe(cmdline?.before);
  expect(uptime?.varies).toBe(true);
  expect(both).toMatchObject({ before: "it's\nerr", loaded: "it's\nerr", after: "it's\nerr" });
  expect(bytes?.before).toBe("\u0001\n");
  expect(result.kernelLog.some((line) => line.includes("'replaces': patching complete"))).toBe(true);
});

test("modules are loaded first, with their dependencies", async () => {
  const result = await tryFixture("replaces", {
    modules: ["zram", "fuse"],
    probes: ["cut -d' ' -f1 /proc/modules | sort"],
  });
  expect(result.verdict).toBe("passed");
  const loaded = result.probes[0]?.before.split("\n");
  for (const name of ["fuse", "zram", "zsmalloc"]) expect(loaded).toContain(name);
});

describe("failures in the guest", () => {
  test("a module that the kernel refuses, with the kernel's own words", async () => {
    const result = await tryFixture("unknown-function");
    expect(result.verdict).toBe("failed");
    expect(result.failure).toContain("could not be loaded");
    expect(result.kernelLog.join("\n")).toContain("symbol 'no_such_function' not found in symbol table");
  });

  test("a warning", async () => {
    const result = await tryFixture("warns");
    expect(result.verdict).toBe("failed");
    expect(result.failure).toMatch(/WARN/);
    expect(result.kernelLog.join("\n")).toContain("new_function");
  });

  test("a panic", async () => {
    const result = await tryFixture("panics");
    expect(result.verdict).toBe("failed");
    expect(result.failure).toContain("the guest panicked (on purpose) while the probes ran with the patch active");
    expect(result.kernelLog.join("\n")).toContain("new_function");
  });

  test("a transition that stalls names the task", async () => {
    const result = await tryFixture("stalls", { timeoutSeconds: 45 });
    expect(result.verdict).toBe("failed");
    expect(result.failure).toContain("the transition did not end within 15 s");
    expect(result.transitionMilliseconds).toBeNull();
    expect(result.stalledTasks.map(({ name }) => name)).toContain("spinner");
  });

  test("a probe that hangs", async () => {
    const result = await tryFixture("replaces", { probes: ["sleep 1000"], timeoutSeconds: 40 });
    expect(result.failure).toBe('probe "sleep 1000" did not end within 7 s');
  });

  test("a probe that the guest does not have", async () => {
    const result = await tryFixture("replaces", { probes: ["no-such-program"] });
    expect(result.failure).toContain("is not a command of the guest");
  });

  test("a guest that takes too long is stopped", async () => {
    const result = await tryFixture("replaces", { timeoutSeconds: 2 });
    expect(result.failure).toBe("the guest did not finish within 2 s and was stopped before its init ran");
  });
});

test("an abort ends the virtual machine at once and leaves nothing behind", async () => {
  // Other tests run virtual machines at the same time: this one has a place of its own.
  const place = mkdtempSync(join(tmpdir(), "kmend-abort-"));
  const usual = process.env["TMPDIR"];
  process.env["TMPDIR"] = place;
  try {
    const abort = new AbortController();
    setTimeout(() => abort.abort(new Error("enough")), 2000);
    await expect(tryFixture("replaces", { signal: abort.signal })).rejects.toThrow("enough");
    expect(readdirSync(place)).toEqual([]);
    const running = execFileSync("ps", ["-eo", "args"], { encoding: "utf8" });
    expect(running).not.toContain(`initrd ${place}/`);
  } finally {
    if (usual === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = usual;
    rmSync(place, { recursive: true });
  }
});

test("a file that is no patch module is told before anything is booted", async () => {
  await expect(tryFixture("replaces", { modulePath: join(folder, "replaces.c") })).rejects.toMatchObject({
    code: "NOT_A_PATCH_MODULE",
    exitCode: 2,
  });
  const other = { release: "5.10.0-1-amd64", imagePath: kernel.imagePath, modulesDir: kernel.modulesDir };
  await expect(tryFixture("replaces", { kernel: other })).rejects.toMatchObject({ code: "WRONG_KERNEL" });
});

test("an image that QEMU cannot boot is the host's problem", async () => {
  const image = join(folder, "vmlinuz");
  writeFileSync(image, "not a kernel");
  const broken = { release: kernel.release, imagePath: image, modulesDir: kernel.modulesDir };
  await expect(tryFixture("replaces", { kernel: broken, timeoutSeconds: 10 })).rejects.toMatchObject({
    code: "VM_DID_NOT_START",
    exitCode: 5,
  });
});

test("a patch of a module that does not start in the guest passes, with a remark", async () => {
  const scratch = new Scratch();
  try {
    const { tree } = await stockKernel();
    // It drives a part of VIA's processors, and its init function gives ENODEV on all others.
    const edit = replace(
      "\tctx->fallback = fallback_tfm;\n",
      (line) => `${line}\tif (!fallback_tfm)\n\t\treturn -EINVAL;\n`,
    );
    const patch = scratch.patch(tree.path, { "drivers/crypto/padlock-sha.c": edit }, "never-fails");
    const { result, exitCode, stderr } = await build([patch], scratch.folder());
    expect(exitCode, stderr).toBe(0);
    const tried = await tryModule({ kernel, modulePath: result.module?.path as string, timeoutSeconds: 100 });
    expect(tried).toMatchObject({ verdict: "passed", failure: null, module: "livepatch_never_fails" });
    expect(tried.remarks).toEqual([
      expect.stringMatching(/^padlock_sha does not start on this virtual machine by itself/),
    ]);
  } finally {
    scratch.remove();
  }
});

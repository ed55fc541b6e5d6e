import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ElfReader } from "../../src/elf/reader.ts";
import type { InstallResult } from "../../src/host/installed/install.ts";
import type { ModuleInfo } from "../../src/host/kernel/patch-module-info.ts";
import type { LoadResult } from "../../src/host/load/load.ts";
import type { UnloadResult } from "../../src/host/load/unload.ts";
import type { HostStatus } from "../../src/host/status/status.ts";
import { signModule } from "../../src/package/sign-module.ts";
import { resealed } from "../host/patch-files.ts";
import { type HostRun, runHost } from "./host-guest.ts";
import { buildFixtures, exampleModule } from "./host-modules.ts";
import { all, append, build, replace, Scratch, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let run: HostRun;
let release: string;

function module(name: string, patches: readonly string[], ...more: string[]): Promise<string> {
  return exampleModule(scratch, name, patches, ...more);
}

/** The same module as if it were made for another kernel whose release is as long. */
function forOtherKernel(path: string): string {
  const other = release.replace(/\d(?=\D*$)/, (digit) => String((Number(digit) + 1) % 10));
  const text = readFileSync(path).toString("latin1").replaceAll(release, other);
  return scratch.file("livepatch-other.ko", resealed(Buffer.from(text, "latin1")));
}

/** The module as if it were proven for another build of the kernel, which only its own code sees. */
function forOtherBuild(path: string): string {
  const file = readFileSync(path);
  const { offset } = new ElfReader(file).section(".data.kmend_kernel") as { offset: number };
  // After two pointers and a size.
  file.fill(0xab, offset + 24, offset + 44);
  return scratch.file("livepatch-build.ko", resealed(file));
}

/** The module after somebody has removed its livepatch relocations, which the kernel does not notice. */
function withoutRelocations(path: string): string {
  const bare = scratch.file("livepatch-bare.ko", readFileSync(path));
  execFileSync("objcopy", ["--remove-section=.klp.rela.vmlinux..text", bare]);
  return bare;
}

/** A module whose callback does not want it to be loaded. */
async function unwilling(tree: string): Promise<string> {
  const edit = all(
    replace('#include "internal.h"', '#include "internal.h"\n#include "kpatch-macros.h"'),
    replace("\treturn 0;\n}\n\nstatic int __init", '\tseq_puts(m, "never\\n");\n\treturn 0;\n}\n\nstatic int __init'),
    append("static int may_not(patch_object *obj)\n{\n\treturn -EBUSY;\n}\nKPATCH_PRE_PATCH_CALLBACK(may_not);\n"),
  );
  const patch = scratch.patch(tree, { "fs/proc/version.c": edit });
  const { result, exitCode, stderr } = await build([patch], scratch.folder(), "--name", "livepatch-no");
  expect(exitCode, stderr).toBe(0);
  return result.module?.path as string;
}

/** The module with a signature of a key that no kernel knows. */
async function signed(path: string): Promise<string> {
  const folder = scratch.folder();
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody"];
  execFileSync("openssl", [...words, "-keyout", key, "-out", certificate], { stdio: "pipe" });
  return scratch.file("livepatch-signed.ko", await signModule(readFileSync(path), { key, certificate }));
}

beforeAll(async () => {
  const { kernel, tree } = await stockKernel();
  release = kernel.release;
  const a = await module("livepatch-a", ["meminfo-string"], "--no-replace");
  const files = [
    a,
    await module("livepatch-b", ["cmdline-helper"], "--no-replace"),
    await module("livepatch-both", ["meminfo-string", "cmdline-helper"]),
    await module("livepatch-zram", ["zram-module"], "--no-replace"),
    forOtherKernel(a),
    forOtherBuild(a),
    withoutRelocations(a),
    await unwilling(tree.path),
    join(await buildFixtures(tree, scratch), "redirects.ko"),
    await signed(a),
    scratch.file("livepatch-damaged.ko", readFileSync(a).subarray(0, 9000)),
  ];
  run = await runHost({
    kernel,
    scratch,
    files,
    kernelModules: ["zram"],
    timeoutSeconds: 800,
    provoked: /pre-patch callback failed for object 'vmlinux'|failed to enable patch 'livepatch_no'/,
    script: `
look() { shows "$1" 'grep -o -i "^memfree" /proc/meminfo; cut -c 1-9 /proc/cmdline; ls /sys/kernel/livepatch; ls -d /sys/module/livepatch_*'; }
step other kmend load --json livepatch-other.ko
step damaged kmend load livepatch-damaged.ko
step bare kmend load --json livepatch-bare.ko
shows by-hand 'insmod livepatch-build.ko; dmesg | grep -o "livepatch_a: proven for.*" | sort -u'
step build kmend load --json livepatch-build.ko
step callback kmend load --json livepatch-no.ko
look refused
insmod redirects.ko
step traced kmend load --json livepatch-b.ko
rmmod redirects
step load kmend load --json livepatch-a.ko livepatch-b.ko
look stacked
step list kmend list --json
step not-cumulative kmend replace --json livepatch-b.ko
step replace kmend replace --json livepatch-both.ko
look replaced
step install kmend install --json livepatch-both.ko
shows installed 'stat -c "%a %u:%g %n" /var/lib/kpatch/*/*; ls -A /var/lib/kpatch/*'
step unload kmend unload --json livepatch-both
look unloaded
step missing kmend check
step zram kmend load --json livepatch-zram.ko
kernel_modules
shows zram-state 'cat /sys/block/zram0/initstate'
step info kmend info --json livepatch-zram
step lost kmend load --json livepatch-both.ko
step load-all kmend load --all --json
look booted
step good kmend check
step uninstall kmend uninstall --json livepatch_both
shows uninstalled 'ls -A /var/lib'
step unload-all kmend unload --all --json
look end
shows zram-end 'cat /sys/block/zram0/initstate'
mount -t securityfs securityfs /sys/kernel/security
echo 1 >/sys/module/module/parameters/sig_enforce
echo integrity >/sys/kernel/security/lockdown
step unsigned kmend load --json livepatch-a.ko
step foreign kmend load --json livepatch-signed.ko
echo nobody:x:65534:65534::/:/bin/sh >>/etc/passwd
shows list-nobody 'su nobody -c "kmend list"'
shows load-nobody 'su nobody -c "kmend load livepatch-a.ko"'
look forbidden
`,
  });
});
afterAll(() => scratch.remove());

/** The lines of a look: MemFree, cmdline, live patches, modules. */
function look(name: string): string {
  return run.step(name).stdout.trim().replaceAll("\n", " ").replaceAll("/sys/module/", "+");
}

describe("load", () => {
  test("a module of another kernel is refused", () => {
    expect(run.step("other").exitCode).toBe(4);
    const [refused] = run.json<LoadResult>("other").modules;
    expect(refused).toMatchObject({ name: "livepatch_a", outcome: "refused" });
    expect(refused?.refusals.map(({ code }) => code)).toEqual(["OTHER_RELEASE"]);
  });

  test("a damaged file is refused", () => {
    const { exitCode, stderr } = run.step("damaged");
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/NOT_A_PATCH_MODULE.*it is damaged/);
  });

  test("a module without its livepatch relocations is refused", () => {
    expect(run.step("bare").exitCode).toBe(4);
    expect(run.json<{ error: object }>("bare").error).toMatchObject({ code: "MODULE_ALTERED" });
  });

  test("a module for another build of the kernel refuses by itself, whoever loads it", async () => {
    const { buildId } = (await stockKernel()).kernel;
    const said = `livepatch_a: proven for the kernel build ${"ab".repeat(20)}, and this is ${buildId}`;
    expect(run.step("by-hand").stdout).toBe(`${said}\n`);
    const [failed] = run.json<LoadResult>("build").modules;
    expect(failed).toMatchObject({ outcome: "failed", error: { code: "LOAD_FAILED" } });
    expect(failed?.error?.why).toContain(said);
  });

  test("what the patch's own callback returned is told as that", () => {
    expect(run.step("callback").exitCode).toBe(1);
    const [failed] = run.json<LoadResult>("callback").modules;
    expect(failed).toMatchObject({ outcome: "failed", error: { code: "CALLBACK_REFUSED" } });
    expect(failed?.error?.message).toContain("the patch's own callback refused (-EBUSY)");
    expect(look("refused")).toBe("MemFree console=t");
  });

  test("a function that another tool redirects is left alone", () => {
    expect(run.step("traced").exitCode).toBe(5);
    expect(run.json<LoadResult>("traced").modules[0]?.refusals).toMatchObject([
      { code: "FTRACE_BUSY", why: expect.stringContaining("cmdline_proc_show") },
    ]);
  });

  test("two modules stand beside each other", () => {
    expect(run.step("load").exitCode, run.step("load").stderr).toBe(0);
    const { modules, outcome } = run.json<LoadResult>("load");
    expect(outcome).toBe("done");
    expect(modules.map(({ name, outcome: became }) => [name, became])).toEqual([
      ["livepatch_a", "loaded"],
      ["livepatch_b", "loaded"],
    ]);
    expect(look("stacked")).toBe("MemFREE console=( livepatch_a livepatch_b +livepatch_a +livepatch_b");
  });
});

test("list tells states, functions and times", () => {
  const { loaded, installed, transition, kernel } = run.json<HostStatus>("list");
  expect({ kernel, installed, transition }).toEqual({ kernel: release, installed: [], transition: null });
  expect(loaded.map(({ name, state, replace }) => ({ name, state, replace }))).toEqual([
    { name: "livepatch_a", state: "enabled", replace: false },
    { name: "livepatch_b", state: "enabled", replace: false },
  ]);
  expect(loaded[0]?.functions).toEqual([{ name: "meminfo_proc_show", object: "vmlinux", sympos: 1, state: "patched" }]);
  expect(loaded[0]?.patches).toEqual(["meminfo-string.patch"]);
  expect(Date.parse(loaded[0]?.since ?? "")).toBeGreaterThan(0);
});

describe("replace", () => {
  test("wants a cumulative module", () => {
    expect(run.step("not-cumulative").exitCode).toBe(4);
    const [refused] = run.json<LoadResult>("not-cumulative").modules;
    expect(refused?.refusals.map(({ code }) => code)).toEqual(["NOT_CUMULATIVE"]);
  });

  test("puts one module in the place of all and unloads these", () => {
    expect(run.step("replace").exitCode, run.step("replace").stderr).toBe(0);
    const [replaced] = run.json<LoadResult>("replace").modules;
    expect(replaced).toMatchObject({ outcome: "loaded", replaced: ["livepatch_a", "livepatch_b"] });
    expect(look("replaced")).toBe("MemFREE console=( livepatch_both +livepatch_both");
  });
});

describe("install", () => {
  test("puts the module where it is loaded at boot", () => {
    const { modules } = run.json<InstallResult>("install");
    const path = `/var/lib/kpatch/${release}/livepatch-both.ko`;
    expect(modules).toMatchObject([{ name: "livepatch_both", path, outcome: "installed" }]);
    expect(run.step("installed").stdout).toBe(`644 0:0 ${path}\nlivepatch-both.ko\n`);
  });

  test("check tells what is not in force", () => {
    expect(run.step("missing").exitCode).toBe(1);
    expect(run.step("missing").stderr).toContain("livepatch_both is installed, but not loaded");
    expect(run.step("good").exitCode, run.step("good").stderr).toBe(0);
  });

  test("load --all loads it", () => {
    expect(run.step("unload").exitCode).toBe(0);
    expect(run.json<UnloadResult>("unload").modules).toMatchObject([{ name: "livepatch_both", outcome: "unloaded" }]);
    expect(look("unloaded")).toBe("MemFree console=t");
    expect(run.json<LoadResult>("load-all").modules).toMatchObject([
      { name: "livepatch_both", outcome: "loaded", replaced: ["livepatch_zram"] },
    ]);
    expect(run.json<LoadResult>("load-all").modules[0]?.notes.join()).toContain("initstate_show (livepatch_zram)");
    expect(look("booted")).toBe(look("replaced"));
  });

  test("uninstall leaves nothing behind, and what is loaded stays", () => {
    const { modules } = run.json<InstallResult>("uninstall");
    expect(modules).toMatchObject([{ outcome: "uninstalled", notes: [expect.stringContaining("stays loaded")] }]);
    expect(run.step("uninstalled").stdout).not.toContain("kpatch");
  });
});

describe("a module that is loaded after its patch", () => {
  test("is told, and patched when it comes", () => {
    const [loaded] = run.json<LoadResult>("zram").modules;
    expect(loaded).toMatchObject({ outcome: "loaded", replaced: [] });
    expect(loaded?.notes).toContain("zram is not loaded: its functions change when it is");
    expect(run.step("zram-state").stdout).toBe("empty\n");
    const info = run.json<ModuleInfo>("info");
    expect(info.loaded?.functions).toEqual([{ name: "initstate_show", object: "zram", sympos: 1, state: "patched" }]);
    expect(info.manifest?.kernel.release).toBe(release);
  });
});

test("a cumulative module does not take back what others change without being told to", () => {
  expect(run.step("lost").exitCode).toBe(4);
  const [refused] = run.json<LoadResult>("lost").modules;
  expect(refused?.refusals).toMatchObject([
    { code: "TAKES_BACK_OTHERS", why: expect.stringContaining("initstate_show (livepatch_zram)") },
  ]);
});

test("unload --all goes back to the kernel as it was booted", () => {
  const { modules } = run.json<UnloadResult>("unload-all");
  expect(modules.map(({ name, outcome }) => `${name} ${outcome}`)).toEqual(["livepatch_both unloaded"]);
  expect(look("end")).toBe("MemFree console=t");
  expect(run.step("zram-end").stdout).toBe("0\n");
});

describe("where only signed modules are loaded", () => {
  test("one without a signature is refused before the kernel is asked", () => {
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
    expect(look("forbidden")).toBe(look("end"));
  });
});

test("anybody may look, and only root may change", () => {
  expect(run.step("list-nobody").exitCode, run.step("list-nobody").stderr).toBe(0);
  expect(run.step("list-nobody").stdout).toContain("Loaded patch modules:\n  none");
  expect(run.step("load-nobody").exitCode).toBe(5);
  expect(run.step("load-nobody").stderr).toContain("NOT_ROOT");
});

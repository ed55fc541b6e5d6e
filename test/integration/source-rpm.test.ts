import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import { runKpatchBuild } from "../../src/cli/compat/kpatch-build.ts";
import { cacheRoot } from "../../src/support/cache.ts";
import { kmend } from "../cli/captured.ts";
import { dnfRepository, type KernelRpms, makeKernelRpms } from "./kernel-rpms.ts";
import { all, append, type Built, replace, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const zram = fileURLToPath(new URL("../../examples/zram-module.patch", import.meta.url));
const scratch = new Scratch();
const remark = "/* Carried by the packages of this kernel. */\n";
let stock: StockKernel;
let rpms: KernelRpms;
let dnfConfig: string;
/** Fits the source after %prep, and no other. */
let fix: string;

beforeAll(async () => {
  stock = await stockKernel();
  const { kernel, tree } = stock;
  const patched = join(scratch.path, "patched");
  mkdirSync(join(patched, "fs/proc"), { recursive: true });
  const version = readFileSync(join(tree.path, "fs/proc/version.c"), "latin1");
  writeFileSync(join(patched, "fs/proc/version.c"), `${version}${remark}`, "latin1");
  fix = scratch.patch(patched, {
    "fs/proc/version.c": all(
      replace(
        "\treturn 0;\n}\n\nstatic int __init",
        '\tseq_puts(m, "from a source RPM\\n");\n\treturn 0;\n}\n\nstatic int __init',
      ),
      replace(remark, `${remark}/* Seen. */\n`),
    ),
  });
  rpms = await makeKernelRpms(join(scratch.path, "rpms"), kernel, {
    archive: (await kernel.source()).path,
    patches: [scratch.patch(tree.path, { "fs/proc/version.c": append(remark) }, "carried")],
    modules: ["zram"],
  });
  dnfConfig = dnfRepository(join(scratch.path, "dnf"), [rpms.core, rpms.modules, rpms.devel]);
});
afterAll(() => {
  forget(join(cacheRoot(), "rpms"), /^kernel-/);
  forget(join(cacheRoot(), "kernels"), new RegExp(`^${stock.kernel.buildId}-`));
  scratch.remove();
});

function forget(folder: string, pattern: RegExp): void {
  for (const name of readdirSync(folder)) if (pattern.test(name)) rmSync(join(folder, name), { recursive: true });
}

async function build(patch: string, ...words: readonly string[]): Promise<Built> {
  const given = ["build", patch, "--json", "--no-install", "--output", scratch.folder(), "--sourcerpm", rpms.source];
  const { exitCode, stdout, stderr } = await kmend(...given, ...words);
  return { exitCode, stderr, result: JSON.parse(stdout) as BuildResult };
}

const files = (): string[] => [rpms.core, rpms.modules, rpms.devel].flatMap((path) => ["--kernel-rpm", path]);

test("a patch is built from a source RPM and the packages in files, and the module works", async () => {
  const { exitCode, stderr, result } = await build(fix, ...files());
  expect(exitCode, stderr).toBe(0);
  expect(result.kernel).toEqual({ release: stock.kernel.release, buildId: stock.kernel.buildId });
  expect(result.functions.map(({ name, proven }) => [name, proven])).toEqual([["version_proc_show", true]]);
  expect(result.milliseconds).toHaveProperty("source-rpm");
  const module = result.module?.path as string;
  const words = ["try", module, "--json", ...files(), "--probe", "tail -n 1 /proc/version", "--probe", "uname -r"];
  const tried = await kmend(...words);
  expect(tried.exitCode, tried.stderr).toBe(0);
  expect(JSON.parse(tried.stdout)).toMatchObject({
    verdict: "passed",
    probes: [{ loaded: "from a source RPM" }, { loaded: stock.kernel.release }],
  });
  const verified = await kmend("verify", module, ...files());
  expect(verified, verified.stderr).toMatchObject({ exitCode: 0 });
  // Without what %prep adds the patch has no place to go.
  const plain = await kmend("build", fix, "--kernel", "newest", "--output", scratch.folder());
  expect(plain.exitCode).toBe(1);
  expect(plain.stderr).toContain("PATCH_DOES_NOT_APPLY");
});

test("the packages are found in a dnf repository, and nothing is prepared twice", async () => {
  const { exitCode, stderr, result } = await build(zram, "--dnf-config", dnfConfig);
  expect(exitCode, stderr).toBe(0);
  expect(new Set(result.functions.map(({ object }) => object))).toEqual(new Set(["zram"]));
  for (const phase of ["source-rpm", "prepare"]) expect(result.milliseconds).not.toHaveProperty(phase);
});

test("kpatch-build takes the source RPM", async () => {
  let stdout = "";
  let stderr = "";
  const words = ["-r", rpms.source, "--dnf-config", dnfConfig, "-n", "from-rpm", "-o", scratch.folder(), fix];
  const exitCode = await runKpatchBuild(words, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    signal: new AbortController().signal,
  });
  expect(exitCode, stderr).toBe(0);
  expect(stdout).toContain("fs/proc/version.o: changed function: version_proc_show\n");
});

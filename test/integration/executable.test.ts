import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildExecutable, type Executable } from "../../packaging/executable.ts";
import type { ModuleInfo } from "../../src/host/kernel/patch-module-info.ts";
import type { LoadResult } from "../../src/host/load/load.ts";
import type { UnloadResult } from "../../src/host/load/unload.ts";
import type { HostStatus } from "../../src/host/status/status.ts";
import { version } from "../../src/support/version.ts";
import { FreshRoot, runProgram } from "./fresh-root.ts";
import { installExecutable, runHost } from "./host-guest.ts";
import { append, build, replace, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: StockKernel;
let executable: Executable;
let patch: string;
let module: string;

beforeAll(async () => {
  stock = await stockKernel();
  executable = await buildExecutable(scratch.folder());
  // A macro of the headers that the executable carries.
  const macro = `
#include "kpatch-macros.h"
static int prepare(patch_object *object) { return 0; }
KPATCH_PRE_PATCH_CALLBACK(prepare);
`;
  patch = scratch.patch(
    stock.tree.path,
    {
      "fs/proc/meminfo.c": (text) => append(macro)(replace('"MemFree:', '"MEMFREE:')(text) ?? ""),
      "fs/proc/cmdline.c": replace("'\\n'", "' ');\n\tseq_putc(m, '\\n'"),
    },
    "two",
  );
  const { exitCode, result, stderr } = await build([patch], scratch.folder());
  expect(exitCode, stderr).toBe(0);
  module = result.module?.path as string;
});
afterAll(() => scratch.remove());

test("the same Node and sources give the same executable", async () => {
  const again = await buildExecutable(scratch.folder());
  expect(readFileSync(again.path).equals(readFileSync(executable.path))).toBe(true);
});

test("it builds the same module as the program that Node runs", () => {
  const output = scratch.folder();
  const words = ["build", patch, "--kernel", stock.kernel.release, "--output", output, "--no-install"];
  const { exitCode, output: said } = runProgram(executable.path, words);
  expect(exitCode, said).toBe(0);
  expect(readFileSync(join(output, "livepatch-two.ko")).equals(readFileSync(module))).toBe(true);
});

test("it disassembles", () => {
  // Functions that share a section call each other without relocations.
  const shared = '__attribute__((section(".shared"), noinline))';
  const [original, patched] = [1, 2].map((number) => {
    const source = `${shared} int changed(int a) { return a * ${number + 6}; }\n${shared} int caller(int a) { return changed(a) + 1; }\n`;
    const file = scratch.file("unit.c", source);
    const object = file.replace(/c$/, "o");
    const ended = runProgram("gcc", ["-O2", "-pg", "-mfentry", "-ffunction-sections", "-c", "-o", object, file]);
    expect(ended.exitCode, ended.output).toBe(0);
    return object;
  });
  const { exitCode, output } = runProgram(executable.path, ["diff", original as string, patched as string]);
  expect(exitCode, output).toBe(0);
  expect(output).toMatch(/changed\b/);
  expect(output).not.toMatch(/caller/);
});

describe("in a root without Node", () => {
  let root: FreshRoot;

  beforeAll(() => {
    root = new FreshRoot("6.1.0-none");
    installExecutable(root, executable.path);
    root.copyFile(module, "livepatch-two.ko");
  });
  afterAll(() => root.remove());

  const inside = (...words: string[]) => root.run(...words);

  test("there is none", () => {
    expect(inside("/bin/sh", "-c", "command -v node nodejs; ls /usr/bin /opt").output).not.toMatch(/^\S*node/m);
  });

  test("it shows its version, and is the tool by whose name it is called", () => {
    expect(inside("/bin/kmend", "--version")).toEqual({ exitCode: 0, output: `${version()}\n` });
    expect(inside("/bin/sh", "-c", "kpatch version")).toEqual({ exitCode: 0, output: `${version()}\n` });
    expect(inside("/bin/kpatch", "list").output).toContain("Loaded patch modules:");
  });

  test("it lists, shows and judges", () => {
    expect(inside("/bin/kmend", "list")).toMatchObject({ exitCode: 0 });
    const { exitCode, output } = inside("/bin/kmend", "info", "--json", "/livepatch-two.ko");
    expect(exitCode, output).toBe(0);
    expect((JSON.parse(output) as ModuleInfo).manifest?.functions.map(({ name }) => name)).toContain(
      "meminfo_proc_show",
    );
    const status = inside("/bin/kmend", "status", "--json");
    expect(status.exitCode).toBe(0);
    expect((JSON.parse(status.output) as HostStatus).loaded).toEqual([]);
    // Another kernel runs here, which is a reason of kmend's own and no lack of Node.
    const load = inside("/bin/kmend", "load", "--dry-run", "--json", "/livepatch-two.ko");
    expect(load.exitCode, load.output).toBe(4);
    expect(load.output).toContain("OTHER_RELEASE");
    expect(inside("/bin/kmend", "lod")).toMatchObject({ exitCode: 2 });
  });
});

test("in the stock kernel, without Node, it loads and unloads a patch module", async () => {
  const run = await runHost({
    kernel: stock.kernel,
    scratch,
    files: [module],
    executable: executable.path,
    script: `
shows node 'command -v node'
step dry kmend load --dry-run livepatch-two.ko
step load kmend load --json livepatch-two.ko
shows patched 'grep -c MEMFREE /proc/meminfo'
step list kpatch list
step unload kmend unload --json livepatch-two
shows unpatched 'grep -c MEMFREE /proc/meminfo'
`,
  });
  expect(run.step("node")).toMatchObject({ exitCode: 127, stdout: "" });
  expect(run.step("dry").exitCode, run.step("dry").stderr).toBe(0);
  expect(run.json<LoadResult>("load")).toMatchObject({ outcome: "done", modules: [{ outcome: "loaded" }] });
  expect(run.step("patched").stdout).toBe("1\n");
  expect(run.step("list").stdout).toContain("livepatch_two [enabled]");
  expect(run.json<UnloadResult>("unload")).toMatchObject({ outcome: "done", modules: [{ outcome: "unloaded" }] });
  expect(run.step("unpatched").stdout).toBe("0\n");
});

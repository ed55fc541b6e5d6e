import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RepeatResult } from "../../src/build/repro/repeat.ts";
import { kmend } from "../cli/captured.ts";
import { root } from "../tidy/source-files.ts";
import { type Edit, replace, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: StockKernel;
/** Has patch(1), pahole(1) and no other program: no compiler, no make, no apt. */
let programs: string;

beforeAll(async () => {
  stock = await stockKernel();
  programs = scratch.folder();
  for (const name of ["patch", "pahole"]) symlinkSync(pathOf(name), join(programs, name));
});
afterAll(() => scratch.remove());

function pathOf(program: string): string {
  return execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim();
}

/** Builds a patch, saves what was read, and repeats it on a machine that has nothing of the kernel. */
async function repeated(
  edits: Readonly<Record<string, Edit>>,
): Promise<{ exitCode: number; result: RepeatResult; folder: string }> {
  const folder = join(scratch.folder(), "repro");
  const patch = scratch.patch(stock.tree.path, edits);
  const words = ["build", patch, "--kernel", stock.kernel.release, "-o", scratch.folder(), "--save-repro", folder];
  const { exitCode } = await kmend(...words);
  const cache = join(scratch.folder(), "cache");
  const { stdout, stderr } = spawnSync(process.execPath, [join(root, "bin/kmend"), "repeat", folder, "--json"], {
    encoding: "utf8",
    env: { PATH: programs, KMEND_CACHE: cache },
  });
  expect(stdout, stderr).not.toBe("");
  const result = JSON.parse(stdout) as RepeatResult;
  expect(result.differences).toEqual([]);
  return { exitCode, result, folder };
}

test("a built module's proof is repeated without packages, compiler and tree", async () => {
  const { exitCode, result, folder } = await repeated({ "fs/proc/meminfo.c": replace('"MemFree:', '"MemFREE:') });
  expect(exitCode).toBe(0);
  expect(result).toMatchObject({ outcome: "same", command: "build", result: { outcome: "built", module: null } });
  const found = (result.result as { functions: { name: string; proven: boolean }[] }).functions;
  expect(found).toMatchObject([{ name: "meminfo_proc_show", proven: true }]);
  // Slices of the image, and not all of it: a bug report has to carry it.
  const bytes = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
  expect(bytes).toBeLessThan(16 << 20);
});

test("of a module's function, with the module", async () => {
  const edit = replace(/^static ssize_t comp_algorithm_show\([^{]*\{\n/m, (head) => `${head}\tcond_resched();\n`);
  const { exitCode, folder } = await repeated({ "drivers/block/zram/zram_drv.c": edit });
  expect(exitCode).toBe(0);
  expect(readdirSync(join(folder, "modules/kernel"), { recursive: true })).toContainEqual(
    expect.stringMatching(/zram\.ko$/),
  );
});

test("a refusal for the layout of a type that many units see", async () => {
  const { exitCode, result } = await repeated({
    "fs/proc/internal.h": replace(/^struct proc_dir_entry \{\n/m, (head) => `${head}\tint kmend_member;\n`),
    "fs/proc/meminfo.c": replace('"MemFree:', '"MemFREE:'),
  });
  expect(exitCode).toBe(4);
  const { refusals } = result.result as { refusals: { code: string }[] };
  expect(refusals.map(({ code }) => code)).toContain("LAYOUT_CHANGED");
});

test("a compiler's error", async () => {
  const { exitCode, result } = await repeated({ "fs/proc/meminfo.c": replace('"MemFree:', '"MemFREE:" + }') });
  expect(exitCode).toBe(1);
  expect(result.result).toMatchObject({ error: { code: "COMPILE_FAILED" } });
});

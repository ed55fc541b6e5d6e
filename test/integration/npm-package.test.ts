import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import { runProgram } from "./fresh-root.ts";
import { readPatchModule } from "./patch-module.ts";
import { all, append, replace, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const scratch = new Scratch();
let stock: StockKernel;
/** What npm put the program's name into. */
let programs: string;

beforeAll(async () => {
  stock = await stockKernel();
  const folder = scratch.folder();
  // Without scripts: the bundles are there, and other tests run them at this moment.
  const packed = runProgram("npm", ["pack", root, "--ignore-scripts", "--silent", "--pack-destination", folder]);
  expect(packed.exitCode, packed.output).toBe(0);
  const place = join(folder, "elsewhere");
  mkdirSync(place);
  const archive = join(folder, packed.output.trim().split("\n").at(-1) as string);
  const words = ["install", "--prefix", place, "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"];
  const installed = runProgram("npm", [...words, archive]);
  expect(installed.exitCode, installed.output).toBe(0);
  programs = join(place, "node_modules", ".bin");
});
afterAll(() => scratch.remove());

test("an installed package builds a patch with the macros for authors", () => {
  const macros = `
#include "kpatch-macros.h"
static int prepare(patch_object *object) { return 0; }
KPATCH_PRE_PATCH_CALLBACK(prepare);
`;
  const patch = scratch.patch(stock.tree.path, {
    "fs/proc/cmdline.c": all(replace("'\\n'", "' ');\n\tseq_putc(m, '\\n'"), append(macros)),
  });
  const words = ["build", patch, "--kernel", stock.kernel.release, "--output", scratch.folder(), "--json", "--quiet"];
  const { exitCode, output } = runProgram(join(programs, "kmend"), [...words, "--no-install"]);
  expect(exitCode, output).toBe(0);
  const { module, functions } = JSON.parse(output) as BuildResult;
  expect(functions.map(({ name }) => name).sort()).toEqual(["cmdline_proc_show", "prepare"]);
  expect(readPatchModule(module?.path as string).info.get("livepatch")).toBe("Y");
});

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { compareCompiler } from "../../src/kernel/compiler.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import { compareDebianVersions } from "../../src/kernel/sources/distribution/debian-version.ts";
import { prepareTree } from "../../src/kernel/tree/prepare.ts";
import { cacheRoot, exists } from "../../src/support/cache.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import type { TryResult } from "../../src/vm/try-types.ts";
import { kmend } from "../cli/captured.ts";
import { build, replace, Scratch } from "./stock-kernel.ts";

const scratch = new Scratch();
let release: string;
let tree: string;

/** Runtime constants came with Linux 6.11: the youngest stock kernel of the archive is the one to ask. */
beforeAll(async () => {
  const kernels = await new Debian().kernels({ cache: cacheRoot(), progress: new SilentProgress() });
  const plain = kernels.filter((kernel) => kernel.hasSource && !/(cloud|rt)-/.test(kernel.release));
  release = [...plain].sort((a, b) => compareDebianVersions(a.packageVersion, b.packageVersion)).at(-1)?.release ?? "";
  const kernel = await findTargetKernel({ kernel: release });
  const { program } = await compareCompiler(kernel.image.banner);
  tree = (await prepareTree(kernel, { compiler: program })).path;
});
afterAll(() => scratch.remove());

test("a function that checks user addresses works in a patch module", async () => {
  const hasConstants = await exists(join(tree, "arch/x86/include/asm/runtime-const.h"));
  const patch = scratch.patch(tree, {
    "fs/readdir.c": replace(
      /^static bool filldir64\([^{]*\{\n/m,
      (matched) => `${matched}\tif (namlen == 15 && !memcmp(name, "hidden-by-kmend", 15))\n\t\treturn true;\n`,
    ),
  });
  const { exitCode, result, stderr } = await build([patch], scratch.folder(), "--kernel", release);
  expect(exitCode, stderr).toBe(0);
  expect(result.functions.map(({ name }) => name)).toEqual(["filldir64"]);
  expect(result.symbols.some(({ name }) => name === "USER_PTR_MAX")).toBe(hasConstants);
  const path = result.module?.path ?? "";
  expect(readFileSync(path).includes(Buffer.from("efcdab8967452301", "hex")), "the assembler's number").toBe(false);
  const probe = "mkdir -p seen hidden-by-kmend && ls";
  const { stdout } = await kmend("try", path, "--json", "--probe", probe);
  const verdict = JSON.parse(stdout) as TryResult;
  expect(verdict.verdict, stdout).toBe("passed");
  expect(verdict.probes[0]).toMatchObject({ before: expect.stringContaining("hidden-by-kmend") });
  expect(verdict.probes[0]?.loaded.trim()).toBe("seen");
});

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { sha256 } from "../../src/support/cache.ts";
import { kmend } from "../cli/captured.ts";
import { build, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";
import { makeUbuntuArchive } from "./ubuntu-packages.ts";

const zram = fileURLToPath(new URL("../../examples/zram-module.patch", import.meta.url));
const scratch = new Scratch();
const long = test.skipIf(process.env["KMEND_LONG_TESTS"] !== "1");
const before = { ...process.env };
let stock: StockKernel;
/** A patch module for zram, built from Debian's packages. */
let module: string;

beforeAll(async () => {
  stock = await stockKernel();
  const output = scratch.folder();
  const { exitCode, stderr, result } = await build([zram], output);
  expect(exitCode, stderr).toBe(0);
  module = result.module?.path as string;
  const archive = await makeUbuntuArchive(join(scratch.path, "archive"), stock.kernel, ["zram"]);
  // Packages of Debian and of Ubuntu have the same names, and here the same versions.
  Object.assign(process.env, archive, { KMEND_CACHE: join(scratch.path, "cache") });
});
afterAll(() => {
  for (const name of ["APT_CONFIG", "DPKG_ADMINDIR", "KMEND_CACHE"]) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
  scratch.remove();
});

test("a kernel in Ubuntu's packages is found, proven against, and tried", async () => {
  const { kernel } = stock;
  const found = await findTargetKernel({ kernel: "newest", archive: { distribution: "ubuntu" } });
  const { release, packageVersion, buildId } = kernel;
  expect(found).toMatchObject({ distribution: "ubuntu", release, packageVersion, buildId });
  for (const name of ["configPath", "symversPath", "imagePath"] as const)
    expect(sha256(readFileSync(found[name])), name).toBe(sha256(readFileSync(kernel[name])));
  expect(sha256(readFileSync((await found.source()).path))).toBe(sha256(readFileSync((await kernel.source()).path)));
  const packages = readdirSync(join(scratch.path, "cache/packages")).map((name) => name.split("_")[0]);
  expect(packages).toEqual(
    expect.arrayContaining(["image", "modules", "modules-extra", "headers"].map((part) => `linux-${part}-${release}`)),
  );
  const verified = await kmend("verify", module, "--distribution", "ubuntu");
  expect(verified.exitCode, verified.stderr).toBe(0);
  const probe = "cat /sys/block/zram0/initstate";
  const tried = await kmend("try", module, "--distribution", "ubuntu", "--json", "--module", "zram", "--probe", probe);
  expect(tried.exitCode, tried.stderr).toBe(0);
  expect(JSON.parse(tried.stdout)).toMatchObject({ verdict: "passed" });
});

long("and built for, from an empty cache", async () => {
  const words = [
    "build",
    zram,
    "--kernel",
    "newest",
    "--distribution",
    "ubuntu",
    "--json",
    "--output",
    scratch.folder(),
  ];
  const { exitCode, stdout, stderr } = await kmend(...words);
  expect(exitCode, stderr).toBe(0);
  const result = JSON.parse(stdout) as BuildResult;
  expect(result.milliseconds).toHaveProperty("prepare");
  expect(result.functions.every(({ proven, object }) => proven && object === "zram")).toBe(true);
  expect(readFileSync(result.module?.path as string)).toEqual(readFileSync(module));
});

import { cpSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { PreparedTree } from "../../src/kernel/tree/prepare.ts";
import { run } from "../../src/support/run.ts";
import { type HostPlan, type HostRun, runHost } from "./host-guest.ts";
import { build, type Scratch, stockKernel } from "./stock-kernel.ts";

const fixtures = fileURLToPath(new URL("../fixtures/host-modules", import.meta.url));

/** Builds patches of examples/ into one patch module for the stock kernel. @returns its path. */
export async function exampleModule(
  scratch: Scratch,
  name: string,
  examples: readonly string[],
  ...more: readonly string[]
): Promise<string> {
  const patches = examples.map((patch) => fileURLToPath(new URL(`../../examples/${patch}.patch`, import.meta.url)));
  const { exitCode, result, stderr } = await build(patches, scratch.folder(), "--name", name, ...more);
  expect(exitCode, stderr).toBe(0);
  return result.module?.path as string;
}

/** Compiles the modules of test/fixtures/host-modules for a kernel. @returns the folder with the `.ko` files. */
export async function buildFixtures(tree: PreparedTree, scratch: Scratch): Promise<string> {
  const folder = scratch.folder();
  cpSync(fixtures, folder, { recursive: true });
  const names = readdirSync(fixtures).filter((name) => name.endsWith(".c"));
  writeFileSync(join(folder, "Makefile"), `obj-m := ${names.map((name) => name.replace(/\.c$/, ".o")).join(" ")}\n`);
  await run("make", [...tree.makeArguments, `M=${folder}`, "modules"], { cwd: tree.path });
  return folder;
}

/** Runs the stock kernel as a host that has some of these modules. */
export async function runHostWithFixtures(
  names: readonly string[],
  plan: Omit<HostPlan, "kernel" | "files">,
): Promise<HostRun> {
  const { kernel, tree } = await stockKernel();
  const folder = await buildFixtures(tree, plan.scratch);
  return runHost({ ...plan, kernel, files: names.map((name) => join(folder, name)) });
}

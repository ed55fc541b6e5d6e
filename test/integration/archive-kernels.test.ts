import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cvesInChangelog } from "../../src/cve/changelog.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { ShippedModules } from "../../src/kernel/modules/shipped-module.ts";
import { readSymvers } from "../../src/kernel/modules/symvers.ts";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { cacheRoot } from "../../src/support/cache.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { Scratch } from "./stock-kernel.ts";
import { suiteSources } from "./suite-sources.ts";

const scratch = new Scratch();
afterAll(() => scratch.remove());

/** A suite whose kernels are split into packages. */
const split = suiteSources("trixie-backports");
const sources = split === undefined ? undefined : scratch.file("split.sources", split);
const context = { cache: cacheRoot(), progress: new SilentProgress() };
const newest = sources === undefined ? undefined : await new Debian({ sources }).newest(context).catch(() => undefined);

describe.skipIf(newest === undefined)("the newest kernel of another suite, split into packages", () => {
  let kernel: TargetKernel;
  beforeAll(async () => {
    kernel = await findTargetKernel({ kernel: "newest", archive: { sources } });
  }, 600_000);

  test("is found with all of its parts", async () => {
    const { release, image } = kernel;
    expect(release).toBe(newest);
    expect(image.banner.release).toBe(release);
    expect(readFileSync(kernel.configPath, "utf8")).toContain(`\nCONFIG_BUILD_SALT="${release}"\n`);
    expect(image.kallsyms().count).toBeGreaterThan(80_000);
    const symvers = await readSymvers(kernel.symversPath);
    const exported = [...symvers.names()].filter((name) => symvers.get(name)?.owner === "vmlinux");
    expect(exported.filter((name) => image.kallsyms().indicesOf(name).length === 0)).toEqual([]);
    const modules = await ShippedModules.open(kernel.modulesDir);
    expect(modules.find("ext4")).toBeDefined();
    expect(readdirSync(kernel.modulesDir ?? "")).toEqual(
      expect.arrayContaining(["kernel", "modules.order", "vmlinuz"]),
    );
  });

  test("has the changelog of one of its packages", async () => {
    expect((await cvesInChangelog(kernel)).size).toBeGreaterThan(100);
  });

  test("is none of this machine's kernels", async () => {
    expect((await new Debian().kernels(context)).map(({ release }) => release)).not.toContain(kernel.release);
  });
});

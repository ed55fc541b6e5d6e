import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import { cacheRoot } from "../../src/support/cache.ts";
import { KmendError } from "../../src/support/errors.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import type { TryResult } from "../../src/vm/try-types.ts";
import { kmend } from "../cli/captured.ts";

const example = fileURLToPath(new URL("../../examples/meminfo-string.patch", import.meta.url));
const long = process.env["KMEND_LONG_TESTS"] === "1";
const context = { cache: cacheRoot(), progress: new SilentProgress() };

/** Newest first: the archive of binary packages is often ahead of that of source packages, in which the patches are. */
async function newestWithPatches(series: RegExp): Promise<string> {
  const debian = new Debian();
  const releases = (await debian.kernels(context))
    .filter(({ release, hasSource }) => hasSource && series.test(release))
    .map(({ release }) => release)
    .reverse();
  for (const release of releases) {
    try {
      await (await debian.fetch({ kind: "release", release }, context)).source();
      return release;
    } catch (error) {
      if (!(error instanceof KmendError) || error.code !== "PATCHES_NOT_OFFERED") throw error;
    }
  }
  throw new Error(`the archive has the patches of none of ${releases.join(", ")}`);
}

/** Each downloads some 220 MB and prepares a tree of its own. */
describe.skipIf(!long).each([[/^6\.1\.0-\d+-rt-amd64$/], [/^6\.12\..*-rt-amd64$/]])(
  "the real-time kernels %s",
  { timeout: 3_600_000 },
  (series) => {
    let release: string;
    beforeAll(async () => {
      release = await newestWithPatches(series);
    }, 3_600_000);

    test("a patch is proven, and works under PREEMPT_RT", async () => {
      const probes = ["grep -i memfree /proc/meminfo | cut -d: -f1", "uname -v"];
      const words = probes.flatMap((probe) => ["--probe", probe]);
      const { exitCode, stdout, stderr } = await kmend("try", example, "--kernel", release, ...words, "--json");
      expect(exitCode, stderr).toBe(0);
      const { verdict, kernel, probes: seen } = JSON.parse(stdout) as TryResult;
      expect({ verdict, kernel }).toEqual({ verdict: "passed", kernel: release });
      expect(seen[0]).toMatchObject({ before: "MemFree", loaded: "MemFREE", after: "MemFree" });
      expect(seen[1]?.loaded).toContain("PREEMPT_RT");
    });
  },
);

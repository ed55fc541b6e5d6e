import { availableParallelism } from "node:os";
import { basename } from "node:path";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * Integration tests that take minutes, started first: a long one at the end would keep a single worker busy. Those of hosts mostly wait for a guest's timers, and
 * stand between those that compile.
 */
const longest = [
  "source-tree",
  "ksplice",
  "host-verbs",
  "report",
  "host-force",
  "target",
  "source-rpm",
  "host-stalls",
  "real-fixes",
  "benchmarks",
  "try",
  "lifetimes",
  "adapt",
  "changes",
].map((name) => `${name}.test.ts`);

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = longest.indexOf(basename(moduleId));
      return at < 0 ? longest.length : at;
    };
    return [...(await super.sort(files))].sort((a, b) => rank(a) - rank(b));
  }
}

/** Tests share the user's cache, so that a second run is quick; KMEND_TEST_CACHE gives them one of their own. */
const cache = process.env["KMEND_TEST_CACHE"];
const env = cache === undefined || cache === "" ? {} : { KMEND_CACHE: cache };

export default defineConfig({
  test: {
    reporters: process.env["KMEND_CI"] === "1" ? ["default", "./test/skips.ts"] : ["default"],
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/integration/**"],
          testTimeout: 30_000,
          hookTimeout: 120_000,
          // By itself vitest leaves one processor free, which on a machine with two is half of it.
          maxWorkers: Math.max(2, availableParallelism() - 1),
          // A quarter of the processor time goes into loading the same modules again for each file.
          isolate: false,
        },
      },
      {
        test: {
          name: "integration",
          env,
          include: ["test/integration/**/*.test.ts"],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          // A virtual machine keeps one processor busy at most, and waits half of the time; what is fetched and prepared is locked in the cache.
          maxWorkers: availableParallelism() + 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});

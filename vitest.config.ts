import { defineConfig } from "vitest/config";

/** Tests share the user's cache, so that a second run is quick; KMEND_TEST_CACHE gives them one of their own. */
const cache = process.env["KMEND_TEST_CACHE"];
const env = cache === undefined || cache === "" ? {} : { KMEND_CACHE: cache };

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["test/**/*.test.ts"], exclude: ["test/integration/**"], testTimeout: 30_000 } },
      {
        test: {
          name: "integration",
          env,
          include: ["test/integration/**/*.test.ts"],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          // Virtual machines keep one core busy each, and what is fetched and prepared is locked in the cache.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});

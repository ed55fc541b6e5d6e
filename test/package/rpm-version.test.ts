import { expect, test } from "vitest";
import { compareRpmVersions } from "../../src/package/formats/rpm-version.ts";
import { retain } from "../../src/package/repository/repository.ts";

/** Older before newer, from rpm's manual page about versions and its own rules. */
test.each([
  ["1.0", "2.0"],
  ["1", "1.0"],
  ["2", "10"],
  ["1.a", "1.1"],
  ["1.0~rc1", "1.0"],
  ["1.0", "1.0^git1"],
  ["1.0^git1", "1.0.1"],
  ["1.0~rc1", "1.0~rc2"],
  ["1.9", "1.10"],
  ["1.02", "1.3"],
])("%s is older than %s", (older, newer) => {
  expect(compareRpmVersions(older, newer)).toBeLessThan(0);
  expect(compareRpmVersions(newer, older)).toBeGreaterThan(0);
});

test.each([
  ["1.0", "1.0"],
  ["1.0", "1_0"],
  ["1.01", "1.1"],
])("%s equals %s", (one, other) => {
  expect(compareRpmVersions(one, other)).toBe(0);
});

test("the newest versions of each package are kept", () => {
  const entry = (name: string, version: string) => ({
    file: `${name}-${version}`,
    name,
    version,
    architecture: "x86_64",
  });
  const all = ["1", "10", "9"].map((version) => entry("a", version)).concat(entry("b", "1"));
  const { kept, removed } = retain(all, 2, compareRpmVersions);
  expect(kept.map(({ file }) => file)).toEqual(["a-10", "a-9", "b-1"]);
  expect(removed.map(({ file }) => file)).toEqual(["a-1"]);
  expect(retain(all, undefined, compareRpmVersions).removed).toEqual([]);
});

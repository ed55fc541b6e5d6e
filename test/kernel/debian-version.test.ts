import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { compareDebianVersions } from "../../src/kernel/sources/distribution/debian-version.ts";

const versions = [
  "6.1.9-1",
  "6.1.10-1",
  "6.1.10-1~deb12u1",
  "6.1.10-1+b1",
  "6.1.10",
  "1:1.0",
  "6.12.9+deb12",
  "6.1a-1",
];

test.each(versions.flatMap((a) => versions.map((b) => [a, b] as const)))("%s and %s order as dpkg says", (a, b) => {
  const is = (operator: string): boolean => {
    try {
      execFileSync("dpkg", ["--compare-versions", a, operator, b]);
      return true;
    } catch {
      return false;
    }
  };
  expect(Math.sign(compareDebianVersions(a, b))).toBe(is("lt") ? -1 : is("gt") ? 1 : 0);
});

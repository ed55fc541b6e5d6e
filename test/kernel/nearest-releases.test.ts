import { expect, test } from "vitest";
import type { OfferedKernel } from "../../src/kernel/sources/distribution/distribution.ts";
import { nearestReleases } from "../../src/kernel/sources/distribution/nearest-releases.ts";

const flavours = ["amd64", "cloud-amd64", "rt-amd64"];
const steps = ["6.1.0-7", "6.1.0-8", "6.1.0-9", "6.1.0-10", "6.1.0-11", "6.12.3+deb12", "6.12.9+deb12"];
const offered: OfferedKernel[] = steps.flatMap((step) =>
  flavours.map((flavour) => ({
    release: `${step}-${flavour}`,
    packageVersion: step,
    installed: false,
    hasSource: step !== "6.1.0-8",
  })),
);
const mind = { running: "6.18.4-own", plain: /^[\d.]+(-\d+|\+deb\d+)?-amd64$/ };

function lines(asked: string, running = mind.running): string[] {
  return nearestReleases(offered, { ...mind, asked, running }).split("\n");
}

test("the nearest come first, of the flavour that was asked for", () => {
  expect(lines("6.1.0-12-cloud-amd64")).toEqual([
    "  6.1.0-11-cloud-amd64, 6.1.0-10-cloud-amd64, 6.1.0-9-cloud-amd64, 6.1.0-8-cloud-amd64 (no source), 6.1.0-7-cloud-amd64",
    "  6.1.0-11-amd64, 6.1.0-11-rt-amd64, 6.1.0-10-amd64",
    "  and 13 more: apt-cache search ^linux-image-",
  ]);
});

test("a release without its flavour is nearest to those of its number", () => {
  expect(lines("6.1.0-8")[0]).toBe(
    "  6.1.0-8-amd64 (no source), 6.1.0-9-amd64, 6.1.0-7-amd64, 6.1.0-10-amd64, 6.1.0-11-amd64",
  );
});

test("without a flavour of the archive it is this machine's, else the plain one", () => {
  expect(lines("5.0.0-own", "6.1.0-9-rt-amd64")[0]).toMatch(
    /^ {2}6\.1\.0-7-rt-amd64, 6\.1\.0-8-rt-amd64 \(no source\), /,
  );
  expect(lines("5.0.0-own")[0]).toMatch(/^ {2}6\.1\.0-7-amd64, /);
});

test("few are named in one line, without a remark on others", () => {
  expect(nearestReleases(offered.slice(0, 1), { ...mind, asked: "6.1.0-9" })).toBe("  6.1.0-7-amd64");
  expect(nearestReleases([], { ...mind, asked: "6.1.0-9" })).toBe("  none");
});

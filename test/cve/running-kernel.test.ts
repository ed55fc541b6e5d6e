import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cvesInChangelog } from "../../src/cve/changelog.ts";
import type { CveData } from "../../src/cve/cve-data.ts";
import type { CveRecord } from "../../src/cve/cve-record.ts";
import { exposedRecords, type KernelKnowledge, statesOf } from "../../src/cve/kernel-cves.ts";
import { type KernelVersion, parseKernelVersion } from "../../src/cve/kernel-version.ts";
import { cveMetrics, runningCves } from "../../src/cve/running-kernel.ts";

const cacheBefore = process.env["KMEND_CACHE"];
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-running-"));
  process.env["KMEND_CACHE"] = folder;
});
afterAll(() => {
  if (cacheBefore === undefined) delete process.env["KMEND_CACHE"];
  else process.env["KMEND_CACHE"] = cacheBefore;
  rmSync(folder, { recursive: true });
});

function record(number: number, facts: Partial<CveRecord> = {}): CveRecord {
  return {
    ...{ id: `CVE-2026-${number}`, state: "published", title: `fault ${number}`, score: 7.8, vector: null },
    published: `2026-0${1 + (number % 9)}-01T00:00:00.000Z`,
    pairs: [{ since: "3.8", fixed: "6.1.200", commit: "a".repeat(40) }],
    files: [`fs/${number}.c`],
    ...facts,
  };
}

const records = [
  record(1000),
  record(1001),
  record(1002, { score: 3.1 }),
  record(1003, { score: null }),
  record(1004, { files: ["fs/1004.c", "fs/shared.h"] }),
  record(1005, { state: "rejected" }),
  record(1006, { pairs: [{ since: "3.8", fixed: "6.1.50", commit: undefined }] }),
];
const data: CveData = {
  ...{ from: "test", digest: "0", damaged: [] },
  records: new Map(records.map((entry) => [entry.id, entry])),
};
const release = "6.1.0-9-amd64";
const buildId = "ab".repeat(20);
const none = new Set<string>();

test("without the answer of Kbuild everything of the series counts, and it is said", async () => {
  const running = { release, banner: "#1 SMP Debian 6.1.100-1 (2026-01-01)", buildId, active: none, installed: none };
  const first = await runningCves(running, data, {});
  expect(first.knowsConfiguration).toBe(false);
  expect(first.cves.map(({ id, state }) => `${id.slice(9)} ${state}`)).toEqual([
    ...["1000 open", "1001 open", "1002 open", "1003 open", "1004 open"],
  ]);
  mkdirSync(join(folder, "kernels", buildId), { recursive: true });
  writeFileSync(join(folder, "kernels", buildId, "cve-files-not-built.txt"), "fs/1001.c\nfs/1004.c");
  const known = { ...running, active: new Set(["CVE-2026-1002"]), installed: new Set(["CVE-2026-1003"]) };
  const second = await runningCves(known, data, {});
  expect(second.knowsConfiguration).toBe(true);
  expect(second.cves.map(({ id, state }) => `${id.slice(9)} ${state}`)).toEqual([
    ...["1000 open", "1001 not in this configuration", "1002 in force", "1003 installed", "1004 open"],
  ]);
});

test("a threshold leaves out what nobody rated, and the distribution's own word goes before all", () => {
  const version = parseKernelVersion("6.1.100") as KernelVersion;
  const known: KernelKnowledge = { version, active: none, installed: none, changelog: new Set(["CVE-2026-1000"]) };
  const states = statesOf(exposedRecords(data, version, { minScore: 7 }), known, undefined);
  expect(states.map(({ id, state }) => [id.slice(9), state])).toEqual([
    ["1000", "fixed"],
    ["1001", "open"],
    ["1004", "open"],
  ]);
});

test("metrics count by state and severity, and date the oldest that is open", () => {
  const version = parseKernelVersion("6.1.100") as KernelVersion;
  const known: KernelKnowledge = { version, active: new Set(["CVE-2026-1000"]), installed: none, changelog: none };
  const text = cveMetrics(statesOf(exposedRecords(data, version, {}), known, undefined));
  expect(text).toContain('\nkmend_cves{state="in force",severity="high"} 1\n');
  expect(text).toContain('\nkmend_cves{state="open",severity="high"} 2\n');
  expect(text).toContain('\nkmend_cves{state="open",severity="low"} 1\n');
  const oldest = Math.min(...[1001, 1002, 1003, 1004].map((number) => Date.parse(record(number).published as string)));
  expect(text).toContain(`\nkmend_cve_oldest_open_seconds ${oldest / 1000}\n`);
  expect(cveMetrics([])).not.toContain("oldest");
});

test("the changelog of a package lies beside the image's folder", async () => {
  const doc = join(folder, "root/usr/share/doc", `linux-image-${release}`);
  mkdirSync(doc, { recursive: true });
  writeFileSync(
    join(doc, "changelog.gz"),
    gzipSync("linux (6.1.9-2)\n  * fix (CVE-2026-1000)\n  * CVE-2026-1001: fix\n"),
  );
  const imagePath = join(folder, "root/boot", `vmlinuz-${release}`);
  expect([...(await cvesInChangelog({ imagePath, release }))]).toEqual(["CVE-2026-1000", "CVE-2026-1001"]);
  expect((await cvesInChangelog({ imagePath, release: "6.1.0-8-amd64" })).size).toBe(0);
  writeFileSync(join(doc, "changelog.gz"), "damaged");
  expect((await cvesInChangelog({ imagePath, release })).size).toBe(0);
});

test("the changelog of a kernel that is split lies in another of its packages", async () => {
  const packages = ["binary", "base"].map((part) => join(folder, "packages", `linux-${part}-${release}_6.1.9-2`));
  const [binary = "", base = ""] = packages;
  const other = join(folder, "packages", `linux-base-${release}_6.1.9-1`);
  for (const [root, cve] of [
    [base, "CVE-2026-1000"],
    [other, "CVE-2026-1001"],
  ] as const) {
    const doc = join(root, "usr/share/doc", `linux-base-${release}`);
    mkdirSync(doc, { recursive: true });
    writeFileSync(join(doc, "changelog.Debian.gz"), gzipSync(`linux (6.1.9)\n  * fix (${cve})\n`));
  }
  mkdirSync(join(binary, "usr/share/doc"), { recursive: true });
  symlinkSync(`linux-base-${release}`, join(binary, "usr/share/doc", `linux-binary-${release}`));
  const imagePath = join(binary, "usr/lib/modules", release, "vmlinuz");
  expect([...(await cvesInChangelog({ imagePath, release }))]).toEqual(["CVE-2026-1000"]);
});

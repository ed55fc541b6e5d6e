import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openCveData } from "../../src/cve/cve-data.ts";
import type { CveRecord } from "../../src/cve/cve-record.ts";
import { baseScore, severityOf } from "../../src/cve/cvss.ts";
import { exposureOf } from "../../src/cve/kernel-state.ts";
import { compareKernelVersions, type KernelVersion, parseKernelVersion } from "../../src/cve/kernel-version.ts";
import { parseCvssFile, parseDyad, parseRecord } from "../../src/cve/parse-record.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { run } from "../../src/support/run.ts";
import { type RecordFacts, recordText } from "./record-text.ts";

const commit = (digit: string): string => digit.repeat(40);
const version = (text: string): KernelVersion => parseKernelVersion(text) as KernelVersion;

describe("versions of the kernel", () => {
  test.each([
    ["6.1.192-3", "6.1.192", "6.1"],
    ["6.12.117-1~deb12u1", "6.12.117", "6.12"],
    ["6.13-rc7", "6.13-rc7", "6.13"],
    ["6.13~rc7-1~exp1", "6.13-rc7", "6.13"],
    ["v6.1", "6.1", "6.1"],
    ["2.6.36.4", "2.6.36.4", "2.6.36"],
  ])("%s is %s of the series %s", (text, name, series) => {
    expect(parseKernelVersion(text)).toMatchObject({ text: name, series });
  });

  test.each(["", "6", "linux", "x6.1", "6.1.2.3.4"])("%j is none", (text) => {
    expect(parseKernelVersion(text)).toBeUndefined();
  });

  test("they are in the order in which they came", () => {
    const order = ["2.6.36", "5.10.9", "5.10.10", "6.1-rc1", "6.1-rc8", "6.1", "6.1.1", "6.1.192", "6.2-rc1", "6.12"];
    const sorted = [...order].reverse().map(version).sort(compareKernelVersions);
    expect(sorted.map(({ text }) => text)).toEqual(order);
  });
});

// Examples of the specification of CVSS 3.1, section 4 of its examples document, and the ends of the scale.
test.each([
  ["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8],
  ["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10],
  ["CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:N/I:H/A:H", 7.1],
  ["CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", 7.8],
  ["CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4],
  ["CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N", 0],
])("%s scores %d", (vector, score) => {
  expect(baseScore(vector)).toBe(score);
});

test.each([
  "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
  "CVSS:3.1/AV:N",
  "CVSS:3.1/S:X",
  "",
  "AV:N",
])("%j has no score of version 3", (vector) => {
  expect(baseScore(vector)).toBeUndefined();
});

test("ratings by score", () => {
  expect([null, 0, 0.1, 3.9, 4, 6.9, 7, 8.9, 9, 10].map(severityOf)).toEqual([
    ...(["unrated", "none", "low", "low", "medium", "medium", "high", "high", "critical", "critical"] as const),
  ]);
});

const several: RecordFacts = {
  id: "CVE-2025-1000",
  title: "net: take the lock",
  files: ["net/core/dev.c"],
  since: "3.8",
  fixes: [
    ["5.15.177", commit("a")],
    ["6.1.125", commit("b")],
    ["6.12.10", commit("c")],
    ["6.13", commit("d")],
  ],
};

describe("one record", () => {
  test("commits and versions are paired in their order", () => {
    expect(parseRecord(recordText(several))).toMatchObject({
      ...{ id: "CVE-2025-1000", state: "published", title: "net: take the lock", isKernel: true },
      files: ["net/core/dev.c"],
      pairs: several.fixes.map(([fixed, name]) => ({ since: "3.8", fixed, commit: name })),
    });
  });

  test("where there are more commits than versions, nobody guesses which is which", () => {
    const text = recordText({ ...several, furtherCommits: [commit("e")] });
    const record = parseRecord(text);
    expect(record).toMatchObject({
      pairs: several.fixes.map(([fixed]) => ({ since: "3.8", fixed, commit: undefined })),
    });
  });

  test("a fault of one series alone has its range with an end", () => {
    const record = parseRecord(recordText({ ...several, fixes: [], ranges: [["5.10.215", "5.10.218", commit("f")]] }));
    expect(record).toMatchObject({ pairs: [{ since: "5.10.215", fixed: "5.10.218", commit: commit("f") }] });
  });

  test("pairs of a dyad file go before the record's own", () => {
    const dyad = parseDyad(`# dyad version: 1.2.0\n5.4:${commit("1")}:6.1.50:${commit("2")}\n5.4:${commit("1")}:0:0\n`);
    expect(dyad).toEqual([
      { since: "5.4", fixed: "6.1.50", commit: commit("2") },
      { since: "5.4", fixed: undefined, commit: undefined },
    ]);
    expect(parseRecord(recordText(several), dyad as never)).toMatchObject({ pairs: dyad });
  });

  test.each(["6.1:abc:6.2:def", "6.1", "6.1:0:6.2:0:0", "x:0:6.2:0"])("%s is no line of a dyad file", (line) => {
    expect(parseDyad(line)).toMatchObject({ problem: expect.stringContaining("no pair") });
  });

  test("the rating is the record's, or that of the file beside it", () => {
    const beside = parseCvssFile(`someone CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H\n\nAV:N - by the net\n`);
    expect(parseRecord(recordText(several), undefined, beside)).toMatchObject({ score: 9.8 });
    expect(parseRecord(recordText({ ...several, score: 5.5 }), undefined, beside)).toMatchObject({ score: 5.5 });
    expect(parseRecord(recordText(several))).toMatchObject({ score: null, vector: null });
  });

  test.each([
    ["no JSON", "{"],
    ["a list", "[]"],
    ["no number", JSON.stringify({ cveMetadata: { cveId: "CVE-1", state: "PUBLISHED" }, containers: { cna: {} } })],
    ["versions that are none", recordText(several).replaceAll('"versions":[', '"versions":[7,')],
  ])("%s is told as damaged", (_, text) => {
    expect(parseRecord(text)).toHaveProperty("problem");
  });

  test("the record of another product is none of the kernel's", () => {
    expect(parseRecord(recordText({ ...several, vendor: "Someone" }))).toMatchObject({ isKernel: false });
  });
});

describe("how a version stands to a record", () => {
  const { pairs } = parseRecord(recordText(several)) as CveRecord;

  test.each([
    ["6.1.100", { kind: "fixed later", fixed: "6.1.125", commit: commit("b") }],
    ["6.1.125", { kind: "fixed", fixed: "6.1.125" }],
    ["6.1.192", { kind: "fixed", fixed: "6.1.125" }],
    ["6.6.10", { kind: "no fix", elsewhere: ["5.15.177", "6.1.125", "6.12.10", "6.13"] }],
    ["6.14.1", { kind: "fixed", fixed: "6.13" }],
    ["6.13", { kind: "fixed", fixed: "6.13" }],
    ["6.13-rc2", { kind: "fixed later", fixed: "6.13", commit: commit("d") }],
    ["3.7.9", { kind: "not affected" }],
  ])("%s", (text, exposure) => {
    expect(exposureOf({ pairs }, version(text))).toEqual(exposure);
  });

  test("a fault that a stable release of another series brought does not reach this one", () => {
    const own = [{ since: "5.10.215", fixed: "5.10.218", commit: commit("f") }];
    expect(exposureOf({ pairs: own }, version("6.1.20")).kind).toBe("not affected");
    expect(exposureOf({ pairs: own }, version("5.10.216")).kind).toBe("fixed later");
    expect(exposureOf({ pairs: own }, version("5.10.200")).kind).toBe("not affected");
  });

  test("a fix that was in mainline before the series began is in all of it", () => {
    const early = [{ since: "5.19", fixed: "6.1-rc3", commit: commit("1") }];
    expect(exposureOf({ pairs: early }, version("6.1.5"))).toEqual({ kind: "fixed", fixed: "6.1-rc3" });
    expect(exposureOf({ pairs: early }, version("6.1-rc2")).kind).toBe("fixed later");
    expect(exposureOf({ pairs: early }, version("6.0.9"))).toEqual({ kind: "no fix", elsewhere: ["6.1-rc3"] });
  });

  test("a fault that came into the series twice is open until the later fix", () => {
    const twice = [
      { since: "5.4", fixed: "6.1.50", commit: commit("1") },
      { since: "6.1.40", fixed: "6.1.60", commit: commit("2") },
    ];
    expect(exposureOf({ pairs: twice }, version("6.1.55"))).toMatchObject({ kind: "fixed later", fixed: "6.1.60" });
    expect(exposureOf({ pairs: twice }, version("6.1.70")).kind).toBe("fixed");
  });
});

describe("a repository of records", () => {
  let folder: string;
  const cache = process.env["KMEND_CACHE"];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kmend-records-"));
    process.env["KMEND_CACHE"] = join(folder, "cache");
    const put = async (path: string, text: string): Promise<void> => {
      await mkdir(dirname(join(folder, "vulns", path)), { recursive: true });
      await writeFile(join(folder, "vulns", path), text);
    };
    await put("cve/published/2025/CVE-2025-1000.json", recordText(several));
    await put("cve/published/2025/CVE-2025-1000.mbox", "From: someone\n");
    await put("cve/published/2025/CVE-2025-1001.json", recordText({ ...several, id: "CVE-2025-1001" }));
    await put("cve/published/2025/CVE-2025-1001.dyad", `4.2:${commit("1")}:6.1.30:${commit("9")}\n`);
    await put("cve/published/2025/CVE-2025-1001.cvss", "me CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H\n");
    await put("cve/published/2025/CVE-2025-1002.json", "{ cut off");
    await put("cve/published/2025/CVE-2025-1003.json", recordText({ ...several, id: "CVE-2025-1999" }));
    await put("cve/published/2025/CVE-2025-1004.json", recordText({ ...several, id: "CVE-2025-1004", vendor: "Else" }));
    await put("cve/rejected/2025/CVE-2025-1005.json", recordText({ ...several, id: "CVE-2025-1005" }));
    await put("cve/rejected/2025/CVE-2025-1006.mbox.rejected", "withdrawn\n");
    await put("cve/reserved/2025/CVE-2025-1007", "");
    await run("tar", ["-czf", join(folder, "vulns.tar.gz"), "-C", folder, "vulns"]);
  });

  afterAll(async () => {
    if (cache === undefined) delete process.env["KMEND_CACHE"];
    else process.env["KMEND_CACHE"] = cache;
    await rm(folder, { recursive: true, force: true });
  });

  test.each(["vulns", "vulns.tar.gz"])("%s is read, and taken from the cache the second time", async (name) => {
    const phases = new SilentProgress();
    const data = join(folder, name);
    const first = await openCveData({ data, progress: phases });
    expect([...first.records.keys()]).toEqual(["CVE-2025-1000", "CVE-2025-1001", "CVE-2025-1005", "CVE-2025-1006"]);
    expect(first.records.get("CVE-2025-1001")).toMatchObject({
      score: 9.8,
      pairs: [{ since: "4.2", fixed: "6.1.30", commit: commit("9") }],
    });
    expect(first.records.get("CVE-2025-1005")?.state).toBe("rejected");
    expect(first.records.get("CVE-2025-1006")?.state).toBe("rejected");
    expect(first.damaged).toEqual(
      [
        "cve/published/2025/CVE-2025-1002.json: it is not JSON",
        "cve/published/2025/CVE-2025-1003.json: it is the record of CVE-2025-1999",
      ].map((text) => expect.stringContaining(text)),
    );
    expect(phases.milliseconds).toHaveProperty("cves");
    const again = new SilentProgress();
    expect(await openCveData({ data, progress: again })).toEqual(first);
    expect(again.milliseconds).not.toHaveProperty("cves");
  });

  test("a folder that changed is read again", async () => {
    const data = join(folder, "vulns");
    await openCveData({ data, progress: new SilentProgress() });
    await writeFile(
      join(data, "cve/published/2025/CVE-2025-1008.json"),
      recordText({ ...several, id: "CVE-2025-1008" }),
    );
    const { records } = await openCveData({ data, progress: new SilentProgress() });
    expect(records.has("CVE-2025-1008")).toBe(true);
  });

  test.each([
    ["nothing at all", "nowhere", "there is no "],
    ["a folder without records", ".", "holds no record of the kernel's"],
    ["a file that is no tarball", "vulns/cve/published/2025/CVE-2025-1000.mbox", "is no tarball of CVE records"],
  ])("%s is refused", async (_, name, message) => {
    await mkdir(join(folder, "empty"), { recursive: true });
    const data = join(folder, name === "." ? "empty" : name);
    await expect(openCveData({ data, progress: new SilentProgress() })).rejects.toMatchObject({
      ...{ code: "CVE_DATA", exitCode: 2 },
      message: expect.stringContaining(message),
    });
  });

  test("without data the hint says how to get them", async () => {
    await expect(openCveData({ progress: new SilentProgress() })).rejects.toMatchObject({
      ...{ code: "NO_CVE_DATA", hint: "fetch them: kmend cves --update" },
    });
  });
});

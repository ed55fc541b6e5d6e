import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { infoLines } from "../../src/cli/commands/info.ts";
import { parseDuration } from "../../src/cli/options/duration.ts";
import { listLines, statusLines } from "../../src/cli/report/status-report.ts";
import { readModuleInfo } from "../../src/host/kernel/patch-module-info.ts";
import { readHostStatus } from "../../src/host/status/status.ts";
import { expire, expireAfter } from "../../src/host/stop/expiry.ts";
import { expiryText, parseExpiry } from "../../src/host/stop/expiry-text.ts";
import { makeStop, type StopRequest } from "../../src/stop/make-stop.ts";
import { parseWanted } from "../../src/stop/request.ts";
import { stopKernel } from "../stop/stop-kernel.ts";
import { FakeHost } from "./fake-host.ts";
import { buildId, patchFile, release, type Wanted } from "./patch-files.ts";
import { load, replace, unload } from "./verbs.ts";

let host: FakeHost;
let folder: string;
beforeEach(() => {
  host = new FakeHost();
  folder = mkdtempSync(join(tmpdir(), "kmend-files-"));
});
afterEach(() => {
  host.dispose();
  rmSync(folder, { recursive: true });
});

const plain = (_format: unknown, text: string): string => text;

/** Makes a stop and loads it. @returns its file. */
async function stopped(request: Partial<StopRequest> = {}): Promise<string> {
  const functions = [parseWanted("int_call"), parseWanted("bool_call")];
  const made = await makeStop(stopKernel({ release, buildId }), { functions, name: "stop-it", ...request });
  if (made.outcome === "refused") throw new Error("refused");
  const path = join(folder, "stop_it.ko");
  writeFileSync(path, made.file);
  const { exitCode, modules } = await load({ host, operands: [path] });
  expect(exitCode, JSON.stringify(modules)).toBe(0);
  return path;
}

/** Loads another module, and tells the codes of its refusals and its notes. */
async function loadOther(wanted: Wanted): Promise<{ readonly codes: string[]; readonly notes: readonly string[] }> {
  const { modules } = await load({ host, operands: [patchFile(folder, wanted)] });
  return { codes: modules.flatMap(({ refusals }) => refusals.map(({ code }) => code)), notes: modules[0]?.notes ?? [] };
}

describe("the status", () => {
  test("tells what is stopped, why, by whom, and how often it was called", async () => {
    await stopped({ log: true, reason: "CVE-2026-1000: no fix yet" });
    host.write("sys/module/stop_it/parameters/hits_0_int_call", "41\n");
    host.write("sys/module/stop_it/parameters/hits_1_bool_call", "1\n");
    const status = await readHostStatus(host);
    expect(status.loaded[0]).toMatchObject({ name: "stop_it", cves: [] });
    expect(status.loaded[0]?.stop).toEqual({
      reason: "CVE-2026-1000: no fix yet",
      cves: ["CVE-2026-1000"],
      by: expect.stringMatching(/./),
      until: null,
      functions: [
        { name: "int_call", object: "vmlinux", returns: "-EPERM", hits: 41 },
        { name: "bool_call", object: "vmlinux", returns: "false", hits: 1 },
      ],
    });
    const list = listLines(status, plain).join("\n");
    expect(list).toContain("stop of int_call, bool_call; reason: CVE-2026-1000: no fix yet; by ");
    expect(list).toContain("called 42 times");
    const lines = statusLines(status, plain).join("\n");
    expect(lines).toMatch(/int_call +vmlinux +stopped, returns -EPERM, called 41 times/);
  });

  test("of one without a log has no counts, and names the vulnerabilities that the reason does not", async () => {
    const path = await stopped({ reason: "one by one\u0007", cves: ["CVE-2026-1000"] });
    const list = listLines(await readHostStatus(host), plain).join("\n");
    expect(list).toContain("reason: one by one; for CVE-2026-1000; by ");
    expect(list).not.toContain("called");
    const info = infoLines(await readModuleInfo(path, host), plain).join("\n");
    expect(info).toMatch(/kind +stop: functions return at once/);
    expect(info).toMatch(/reason +one by one/);
  });
});

describe("a later patch module", () => {
  test("that is cumulative ends a stop when it fixes all that this was for, and else is refused", async () => {
    await stopped({ cves: ["CVE-2026-1000", "CVE-2026-1001"] });
    expect((await loadOther({ name: "a", functions: ["foo"] })).codes).toEqual(["ENDS_STOP"]);
    expect((await loadOther({ name: "b", functions: ["int_call"], cves: ["CVE-2026-1000"] })).codes).toEqual([
      "ENDS_STOP",
    ]);
    const { codes, notes } = await loadOther({ name: "c", cves: ["CVE-2026-1001", "CVE-2026-1000"] });
    expect(codes).toEqual([]);
    expect(notes).toContain("the stop stop_it ends: this module fixes CVE-2026-1000, CVE-2026-1001");
    expect(host.state.patches).toEqual(["c"]);
  });

  test("never ends one silently that is for nothing that has a number", async () => {
    await stopped();
    expect((await loadOther({ name: "a", cves: ["CVE-2026-1000"] })).codes).toEqual(["ENDS_STOP"]);
    const { modules } = await replace({ host, operands: [patchFile(folder, { name: "b" })] });
    expect(modules[0]).toMatchObject({ outcome: "loaded", replaced: ["stop_it"] });
    expect(modules[0]?.notes).toContain("the stop stop_it ends, and what it closes is open again");
  });

  test("that is not cumulative covers it under the same conditions, and goes beside it otherwise", async () => {
    await stopped({ cves: ["CVE-2026-1000"] });
    expect((await loadOther({ name: "a", functions: ["foo"], replace: false })).codes).toEqual([]);
    expect((await loadOther({ name: "b", functions: ["bool_call"], replace: false })).codes).toEqual(["ENDS_STOP"]);
    const fix: Wanted = { name: "c", functions: ["bool_call"], replace: false, cves: ["CVE-2026-1000"] };
    expect((await loadOther(fix)).codes).toEqual([]);
  });
});

describe("the end of a stop", () => {
  test("is set for the very load, and told", async () => {
    await stopped();
    const until = await expireAfter("stop_it", 3600, host);
    const [expiry] = host.expiries;
    expect(expiry).toMatchObject({ name: "stop_it", seconds: 3600 });
    const status = await readHostStatus(host);
    expect(status.loaded[0]?.since).toBe(expiry?.since);
    expect(status.loaded[0]?.stop?.until).toBe(until);
    expect(Date.parse(until) - Date.parse(expiry?.since ?? "")).toBeGreaterThanOrEqual(3_600_000);
    expect(parseExpiry(expiryText(expiry as { name: string; since: string }))).toEqual({
      name: "stop_it",
      since: expiry?.since,
    });
    expect(await expire(expiry as { name: string; since: string }, { host })).toMatchObject({ outcome: "done" });
    expect(host.state.modules).toEqual([]);
  });

  test("leaves a load alone that came after it", async () => {
    const path = await stopped();
    await expireAfter("stop_it", 5, host);
    await unload({ host, operands: ["stop-it"] });
    await new Promise((done) => setTimeout(done, 2));
    await load({ host, operands: [path] });
    const [expiry] = host.expiries;
    expect(await expire(expiry as { name: string; since: string }, { host })).toBeUndefined();
    expect(host.state.modules).toEqual(["stop_it"]);
    expect((await readHostStatus(host)).loaded[0]?.stop?.until).toBeNull();
  });

  test("that cannot be set is told, and the stop stays", async () => {
    await stopped();
    host.timers = false;
    await expect(expireAfter("stop_it", 5, host)).rejects.toMatchObject({ code: "NO_TIMER" });
    await expect(expireAfter("another", 5, host)).rejects.toMatchObject({ code: "NO_TIMER" });
    expect(host.state.modules).toEqual(["stop_it"]);
  });

  test("is a number with a unit", () => {
    expect(["90s", "30m", "30min", "12h", "7d", "2w"].map(parseDuration)).toEqual([
      90, 1800, 1800, 43200, 604800, 1209600,
    ]);
    for (const text of ["", "5", "0s", "5 h", "-1h", "1y", "1.5h"])
      expect(() => parseDuration(text)).toThrow("no duration");
  });

  test("removes the module that waited in /run", async () => {
    await stopped();
    host.write("run/kmend/stops/stop_it.ko", "x");
    await unload({ host, operands: ["stop-it"] });
    expect(host.has("run/kmend/stops/stop_it.ko")).toBe(false);
  });
});

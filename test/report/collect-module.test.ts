import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { collectModuleReport } from "../../src/report/collect-module.ts";
import { compareModules } from "../../src/report/compare-modules.ts";
import { renderReport } from "../../src/report/page/document.tsx";
import type { ReviewReport } from "../../src/report/report-types.ts";
import { makeStop } from "../../src/stop/make-stop.ts";
import { parseWanted } from "../../src/stop/request.ts";
import { kmend } from "../cli/captured.ts";
import { patchFile, type Wanted } from "../host/patch-files.ts";
import { stopKernel } from "../stop/stop-kernel.ts";
import { sampleUpdate } from "../update/sample-update.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-report-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** No kernel is there: the proof cannot be repeated. */
const image = join(folder, "no-image");

test("a module whose kernel is not found is shown as not held against it", async () => {
  const module = patchFile(folder, { name: "livepatch-a", functions: ["foo", "ext4:bar"] });
  const subject = { kind: "module", files: ["livepatch-a.ko"] } as const;
  const report = await collectModuleReport({ module, subject, image });
  expect(report.verdict).toMatchObject({
    ...{ outcome: "unchecked", functions: { changed: 2, new: 0, proven: 0 } },
    module: { name: "livepatch_a" },
  });
  expect(report.functions.map(({ name, object }) => `${object}:${name}`).sort()).toEqual(["ext4:bar", "vmlinux:foo"]);
  expect(report.verdict.notes.join()).toContain("the proof was not repeated");
  expect(report.verdict.attention.map(({ who }) => who)).toContain("reviewer");
  expect(report.module?.modinfo).toContainEqual({ key: "livepatch", value: "Y" });
  const html = renderReport(report);
  expect(html).toContain("Not held against its kernel");
  expect(renderReport(await collectModuleReport({ module, subject, image }))).toBe(html);
});

test("a module whose digest was cut out is altered, and one of an old version is not vouched for", async () => {
  const subject = { kind: "module", files: ["livepatch-a.ko"] } as const;
  const made = (kmend: string) =>
    patchFile(mkdtempSync(join(folder, "cut-")), { name: "livepatch-a", kmend, sealed: false });
  await expect(collectModuleReport({ module: made("0.1.0"), subject, image })).rejects.toMatchObject({
    code: "MODULE_ALTERED",
  });
  const { verdict } = await collectModuleReport({ module: made("0.0.9"), subject, image });
  expect(verdict.file).toBe("unsealed");
  expect(verdict.attention.map(({ section }) => section)).toContain("module");
});

test("a module of another tool was not looked for in a kernel", async () => {
  const module = patchFile(mkdtempSync(join(folder, "other-")), { name: "livepatch-a", manifest: false });
  const { verdict } = await collectModuleReport({ module, subject: { kind: "module", files: ["a.ko"] }, image });
  const texts = verdict.attention.map(({ what }) => what).join();
  expect(texts).toContain("no manifest");
  expect(texts).not.toContain("not found");
});

test("a stop is shown as one that compares nothing and fixes nothing", async () => {
  const functions = [parseWanted("int_call"), parseWanted("bool_call")];
  const made = await makeStop(stopKernel(), { functions, reason: "CVE-2026-1000: until the fix" });
  if (made.outcome === "refused") throw new Error("refused");
  const module = join(mkdtempSync(join(folder, "stop-")), "stop.ko");
  writeFileSync(module, made.file);
  const report = await collectModuleReport({ module, subject: { kind: "module", files: ["stop.ko"] }, image });
  expect(report.verdict).toMatchObject({ outcome: "unchecked", cves: [], functions: { changed: 2, proven: 0 } });
  expect(report.verdict.notes[0]).toBe(
    "this module stops functions (kmend stop): int_call returns -EPERM, bool_call returns false; reason: CVE-2026-1000: until the fix; against CVE-2026-1000, which it does not fix",
  );
  expect(renderReport(report)).not.toContain("byte for byte");
});

test("functions that a module brings itself are shown as new", async () => {
  const brings = [{ name: "helper", kind: "function" as const, bytes: [0x90, 0xc3] }];
  const module = patchFile(mkdtempSync(join(folder, "own-")), { name: "livepatch-a", brings });
  const { verdict, functions } = await collectModuleReport({
    ...{ module, subject: { kind: "module", files: ["a.ko"] }, image },
  });
  expect(verdict.functions).toEqual({ changed: 1, new: 1, proven: 0 });
  expect(functions.find(({ name }) => name === "helper")).toMatchObject({
    ...{ change: "new", proven: null, object: "this module", bytes: { shipped: null, patched: 2 } },
  });
});

test("an update is shown with the patch that it carries", async () => {
  const { path } = await sampleUpdate(folder, { id: "abc" });
  const { exitCode, stdout, stderr } = await kmend("report", path, "--image", image, "--json");
  expect(exitCode, stderr).toBe(0);
  const report = JSON.parse(stdout) as ReviewReport;
  expect(report.subject).toEqual({ kind: "update", files: ["ksplice-abc.tar.gz"] });
  expect(report.functions.map(({ name }) => name)).toEqual(["foo"]);
});

test("two modules are compared by the functions that they put in force", async () => {
  const old = patchFile(mkdtempSync(join(folder, "old-")), { name: "livepatch-1", functions: ["foo", "bar"] });
  const fresh = patchFile(mkdtempSync(join(folder, "new-")), { name: "livepatch-2", functions: ["foo", "baz"] });
  const { functions, remarks } = await compareModules(old, fresh, ["livepatch-1.ko", "livepatch-2.ko"]);
  const kinds = Object.fromEntries(functions.map(({ name, kind }) => [name, kind]));
  expect(kinds).toMatchObject({ bar: "dropped", baz: "added" });
  expect(remarks.join()).toContain("the kernel's own code runs again for bar");
});

test("a comparison says of a stop that it is one, and of a module that kmend did not make how little is known", async () => {
  const made = await makeStop(stopKernel(), { functions: [parseWanted("int_call")], reason: "until the fix" });
  if (made.outcome === "refused") throw new Error("refused");
  const stop = join(mkdtempSync(join(folder, "stop-")), "stop.ko");
  writeFileSync(stop, made.file);
  const brings = [{ name: "foo", kind: "function" as const, bytes: [0x90, 0xc3] }];
  const other = patchFile(mkdtempSync(join(folder, "other-")), { name: "kpatch-a", manifest: false, brings });
  const { remarks } = await compareModules(stop, other, ["stop.ko", "kpatch-a.ko"]);
  expect(remarks).toContain(
    "the old module stops functions (kmend stop): int_call returns -EPERM; reason: until the fix",
  );
  expect(remarks.join()).toContain("kmend did not make the new module: which functions it replaces");
});

test("what a comparison would pass over is refused", async () => {
  const module = patchFile(mkdtempSync(join(folder, "option-")), { name: "livepatch-1" });
  for (const option of ["--kernel", "--trial", "--image"]) {
    const { exitCode, stderr } = await kmend("report", "--compare", module, module, option, "x", "--json");
    expect(exitCode, option).toBe(2);
    expect(stderr, option).toContain(`${option} does not go with --compare`);
  }
});

describe("two modules whose redirected functions have the same code", () => {
  const kinds = ["function", "variable", "constant"] as const;
  const compared = async (before: Wanted["brings"], after: Wanted["brings"], further: Partial<Wanted> = {}) => {
    const wanted = { name: "livepatch-1", functions: ["foo"] };
    const old = patchFile(mkdtempSync(join(folder, "old-")), { ...wanted, brings: before ?? [] });
    const fresh = patchFile(mkdtempSync(join(folder, "new-")), { ...wanted, brings: after ?? [], ...further });
    return compareModules(old, fresh, ["old.ko", "new.ko"]);
  };

  test.each(kinds)("a %s that they bring differs, is added, is dropped, and is the same", async (kind) => {
    const item = (name: string, byte: number) => ({ name, kind, bytes: [byte, 0xc3] });
    const { functions, data, remarks } = await compared(
      [item("a_same", 0x90), item("a_changed", 0x90), item("a_dropped", 0x90)],
      [item("a_same", 0x90), item("a_changed", 0xcc), item("a_added", 0x90)],
    );
    const brought = kind === "function" ? functions.filter(({ role }) => role === "brings") : data;
    expect(Object.fromEntries(brought.map((one) => [one.name, one.kind]))).toEqual({
      ...{ a_same: "same", a_changed: "changed", a_dropped: "dropped", a_added: "added" },
    });
    expect(functions.find(({ name }) => name === "foo")).toMatchObject({ role: "replaces", kind: "same" });
    expect(remarks).toEqual([]);
  });

  test("content without a name is named by its section", async () => {
    const item = (byte: number) => [{ name: "x", kind: "unnamed" as const, bytes: [byte, 0] }];
    const { sections, remarks } = await compared(item(1), item(2));
    expect(sections.map(({ name }) => name)).toContain(".unnamed.x");
    expect(remarks.join()).toContain("in .unnamed.x");
    expect((await compared(item(1), item(1))).sections).toEqual([]);
  });

  test("without a build id it is not known whether they are for the same build", async () => {
    const { sameKernel, remarks } = await compared([], [], { manifest: false });
    expect(sameKernel).toBeNull();
    expect(remarks.join()).not.toContain("different builds");
    expect(remarks.join()).toContain("does not say for which build");
  });
});

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readFinishedModule } from "../../src/package/built-module.ts";
import { changelogLines } from "../../src/package/metadata.ts";
import { planPackage } from "../../src/package/package-plan.ts";
import { finishedFilesOf } from "../../src/update/finished-files.ts";
import { patchFile } from "../host/patch-files.ts";
import { sampleUpdate } from "../update/sample-update.ts";
import { smallModule } from "../update/small-module.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-module-"));
afterAll(() => rmSync(folder, { recursive: true }));
const release = "6.1.0-1-amd64";

test("a module's own description is read", async () => {
  const path = smallModule(folder, {
    name: "livepatch-fix",
    release,
    info: { "kmend.patch": `${"a".repeat(64)} fix.patch` },
  });
  expect(await readFinishedModule(path)).toMatchObject({
    file: "livepatch-fix.ko",
    name: "livepatch_fix",
    release,
    architecture: { rpm: "x86_64", deb: "amd64" },
    signed: false,
    patches: [{ name: "fix.patch", sha256: "a".repeat(64) }],
  });
});

test.each([
  ["a module that is no live patch", { livepatch: undefined }, "NOT_A_PATCH_MODULE", ""],
  ["one that depends on others", { depends: "fuse,ext4" }, "MODULE_UNFIT", "fuse,ext4"],
  ["one under another name", { name: "other" }, "MODULE_UNFIT", "other"],
  ["one without a kernel", { vermagic: "" }, "NOT_A_PATCH_MODULE", ""],
  ["one for a kernel with a strange name", { vermagic: "6.1/$(id)" }, "PACKAGE_VALUE", ""],
])("%s is refused", async (_title, info, code, why) => {
  const texts = Object.fromEntries(Object.entries(info).map(([key, value]) => [key, value ?? ""]));
  const path = smallModule(folder, { name: "bad", release, info: texts });
  if (code === "NOT_A_PATCH_MODULE" && "livepatch" in info) {
    const content = readFileSync(path);
    content.write("liveXatch", content.indexOf("livepatch="));
    writeFileSync(path, content);
  }
  await expect(readFinishedModule(path)).rejects.toMatchObject({
    code,
    ...(why === "" ? {} : { why: expect.stringContaining(why) }),
  });
});

test("something else than a module is refused", async () => {
  const path = join(folder, "text.ko");
  writeFileSync(path, "hello");
  for (const [file, words] of [
    [path, "not a kernel module"],
    [join(folder, "missing.ko"), "no such file"],
    [folder, "a folder"],
  ] as const) {
    await expect(readFinishedModule(file)).rejects.toMatchObject({
      code: "NOT_A_PATCH_MODULE",
      message: expect.stringContaining(words),
    });
  }
});

test("the module of an update is one that can be packaged, unless it goes on top of another", async () => {
  const first = await sampleUpdate(folder, { id: "first", description: "why" });
  const after = [{ id: "first", sha256: first.sha256 }];
  const second = await sampleUpdate(folder, { id: "second", after });
  const opened = await finishedFilesOf(first.path, mkdtempSync(join(folder, "opened-")));
  expect(opened.description).toBe("why");
  expect(await readFinishedModule(opened.files[0] as string)).toMatchObject({
    name: "ksplice_first",
    sha256: first.sha256,
  });
  const stacked = await finishedFilesOf(second.path, mkdtempSync(join(folder, "opened-")));
  await expect(readFinishedModule(stacked.files[0] as string)).rejects.toMatchObject({
    code: "MODULE_UNFIT",
    why: expect.stringContaining("on top of update first"),
  });
});

test("the vulnerabilities that a module names are those of its package, beside what the user says", async () => {
  const path = patchFile(folder, { name: "livepatch-cves", release, cves: ["CVE-2026-1001", "CVE-2026-1000"] });
  const finished = await readFinishedModule(path);
  expect(finished.cves).toEqual(["CVE-2026-1001", "CVE-2026-1000"]);
  const module = { file: finished.file, release, finished };
  const content = { architecture: finished.architecture, modules: [module], origin: "a test", epoch: 0 };
  const plan = planPackage(content, { cves: ["CVE-2026-1000"] });
  expect(plan.cves).toEqual(["CVE-2026-1000", "CVE-2026-1001"]);
  expect(changelogLines(plan)).toEqual(expect.arrayContaining(["Fixes {CVE-2026-1000}", "Fixes {CVE-2026-1001}"]));
});

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bootOnlyScript, guestScript } from "../../src/vm/guest-script.ts";
import { makeInitramfs } from "../../src/vm/initramfs.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-initramfs-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("the archive holds init, busybox, modules in order and the probes", async () => {
  const patchModule = join(folder, "livepatch-x.ko");
  const first = join(folder, "first.ko");
  writeFileSync(patchModule, "patch");
  writeFileSync(first, "first");
  const archive = await makeInitramfs(folder, {
    init: "#!/bin/busybox sh\n",
    patchModule,
    modules: [first, patchModule],
    probes: ["echo 'it works'"],
    files: new Map([["opt/tools/first", first]]),
  });
  const list = execFileSync("cpio", ["-itv", "--quiet", "-F", archive], { encoding: "utf8" });
  const names = list
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).slice(8).join(" "));
  for (const name of [
    "init",
    "bin/busybox",
    "bin/sh -> busybox",
    "kmend/patch.ko",
    "kmend/modules/1.ko",
    "kmend/probes/0",
    "opt/tools/first",
  ]) {
    expect(names).toContain(name);
  }
  expect(list).toMatch(/^-rwxr-xr-x .* init$/m);
  expect(list).toMatch(/^-rwxr-xr-x .* root\s+root .* bin\/busybox$/m);
  const extract = (name: string): string =>
    execFileSync("cpio", ["-i", "--to-stdout", "--quiet", "-F", archive, name], { encoding: "utf8" });
  expect(extract("kmend/modules/0.ko")).toBe("first");
  expect(extract("kmend/probes/0")).toBe("echo 'it works'");
});

test.each([
  ["boot only", bootOnlyScript("t")],
  [
    "try",
    guestScript({
      token: "t",
      moduleCount: 2,
      probeCount: 3,
      staysInMemory: false,
      probeLimit: 5,
      transitionLimit: 10,
    }),
  ],
  [
    "try of a module that stays",
    guestScript({
      token: "t",
      moduleCount: 0,
      probeCount: 0,
      probeLimit: 5,
      transitionLimit: 10,
      staysInMemory: true,
    }),
  ],
])("the guest's shell accepts the %s script", (_name, script) => {
  execFileSync("busybox", ["sh", "-n"], { input: script });
});

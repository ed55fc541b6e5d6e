import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { machineArchive } from "../../src/kernel/sources/distribution/apt-archive.ts";
import { sourcePatches } from "../../src/kernel/sources/distribution/source-patches.ts";
import { updateRepository } from "../../src/package/repository/repository.ts";
import { createUpdate } from "../../src/update/create-update.ts";
import { OriginalMemory } from "../../src/update/original-state.ts";
import { expectInterruptibleWait } from "./held-lock.ts";

let folder: string;
const before = process.env["KMEND_CACHE"];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-locks-"));
  process.env["KMEND_CACHE"] = join(folder, "cache");
});
afterEach(() => {
  if (before === undefined) delete process.env["KMEND_CACHE"];
  else process.env["KMEND_CACHE"] = before;
  rmSync(folder, { recursive: true });
});

test("a wait for another process that writes the same repository ends with an interrupt", async () => {
  const repository = join(folder, "repository");
  await expectInterruptibleWait(join(repository, ".kmend.lock"), (progress, signal) =>
    updateRepository({ folder: repository, packages: [], kind: "apt", progress, signal }),
  );
  expect(existsSync(join(repository, "dists"))).toBe(false);
});

test("a wait for another process that fetches the same patches of a distribution does", async () => {
  const apt = await machineArchive();
  await expectInterruptibleWait(join(folder, "packages/patches-rt_linux_6.1.27-1.lock"), (progress, signal) =>
    sourcePatches({ name: "linux", version: "6.1.27-1" }, "rt", { cache: folder, apt, progress, signal }),
  );
});

test("a wait for another process that makes an update from the same tree does", async () => {
  const tree = join(folder, "tree");
  for (const name of ["Kbuild", "scripts", "kernel"]) mkdirSync(join(tree, name), { recursive: true });
  writeFileSync(join(tree, "Makefile"), "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 0\nEXTRAVERSION =\n");
  const name = basename(dirname((await OriginalMemory.of(tree)).folder));
  await expectInterruptibleWait(join(folder, `cache/updates/${name}.lock`), (progress, signal) =>
    createUpdate({ source: tree, change: { kind: "prebuild" }, progress, signal }),
  );
});

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import { ElfReader } from "../../src/elf/reader.ts";
import { readFinishedModule } from "../../src/package/built-module.ts";
import { sha256 } from "../../src/support/cache.ts";
import { messageOf } from "../../src/support/errors.ts";
import { applyUpdate } from "../../src/update/apply-undo.ts";
import { writeUpdate } from "../../src/update/update-bundle.ts";
import { inspectPatchModule } from "../../src/vm/patch-module.ts";
import { kmend } from "../cli/captured.ts";
import { updateParts } from "../update/sample-update.ts";
import { FakeHost } from "./fake-host.ts";
import { patchFile, release } from "./patch-files.ts";
import { boot, install, load, replace } from "./verbs.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-altered-"));
afterAll(() => rmSync(folder, { recursive: true }));
let host: FakeHost;
beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => host.dispose());

/** The module with another byte of code; what else it says about itself stays true. */
function altered(content: Uint8Array): Buffer {
  const bytes = Buffer.from(content);
  const at = new ElfReader(bytes).section(".text")?.offset ?? 0;
  bytes.writeUInt8((bytes[at] as number) ^ 1, at);
  return bytes;
}

const path = join(folder, "fix.ko");
writeFileSync(path, altered(readFileSync(patchFile(folder, { name: "fix" }))));

/** An update whose digests are right, and whose module is not as it was built. */
async function alteredUpdate(): Promise<string> {
  const { manifest, files } = updateParts(folder, { id: "a" });
  const module = altered(files.get(manifest.module.file) as Buffer);
  const changed = { ...manifest, module: { ...manifest.module, sha256: sha256(module) } };
  const all = new Map([...files, [manifest.module.file, module]]);
  return writeUpdate(changed, all, 1_700_000_000, mkdtempSync(join(folder, "update-")));
}

/** What it says of the module when it refuses it. */
async function refusal(work: Promise<unknown>): Promise<string> {
  return work.then(
    (result) => JSON.stringify(result),
    (error: unknown) => `${messageOf(error)}\n${(error as { why?: string }).why ?? ""}`,
  );
}

async function installed(): Promise<void> {
  const at = join(host.root, "var/lib/kpatch", release);
  mkdirSync(at, { recursive: true, mode: 0o755 });
  writeFileSync(join(at, "fix.ko"), readFileSync(path), { mode: 0o644 });
}

test.each<[string, () => Promise<unknown>]>([
  ["load", () => load({ host, operands: [path] })],
  ["replace", () => replace({ host, operands: [path] })],
  ["load --dry-run", () => load({ host, operands: [path], dryRun: true })],
  ["install", () => install({ host, operands: [path] })],
  [
    "boot",
    async () => {
      await installed();
      return boot({ host });
    },
  ],
  ["package", () => readFinishedModule(path)],
  ["try", () => inspectPatchModule(path)],
  ["info", () => kmend("info", path)],
  ["info of an update", async () => kmend("info", await alteredUpdate())],
  ["view", async () => kmend("view", "--file", await alteredUpdate())],
  ["apply", async () => applyUpdate({ host, path: await alteredUpdate() })],
])("%s refuses a module that is not as it was built, and nothing is loaded or written", async (_, work) => {
  expect(await refusal(work())).toMatch(/is not as it was built/);
  expect(host.state).toEqual({ patches: [], modules: [] });
});

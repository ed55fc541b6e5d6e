import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ShippedModule, ShippedModules } from "../../src/kernel/modules/shipped-module.ts";
import { moduleName } from "../../src/support/module-file-name.ts";

const content = Buffer.from("\x7fELF and so on");
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kmend-modules-"));
  await writeFile(
    join(folder, "modules.order"),
    "kernel/fs/fuse/fuse.ko\nkernel/net/ipv4/tcp-bbr.ko\nkernel/drivers/block/zram/zram.ko\nkernel/lib/gone.ko\nkernel/fs/ext4/ext4.ko\n",
  );
  await writeFile(join(folder, "modules.builtin"), "kernel/drivers/char/hw_random/rng-core.ko\n");
  await module("fs/fuse/fuse.ko", content);
  await module("net/ipv4/tcp-bbr.ko.xz", execFileSync("xz", ["-c"], { input: content }));
  await module("drivers/block/zram/zram.ko.zst", execFileSync("zstd", ["-c"], { input: content }));
  await module("fs/ext4/ext4.ko.gz", gzipSync(content));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function module(path: string, data: Buffer): Promise<void> {
  const file = join(folder, "kernel", path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, data);
}

test.each(["fuse", "tcp_bbr", "zram", "ext4"])("%s is unpacked whatever its suffix", async (name) => {
  const modules = await ShippedModules.open(folder);
  expect(await modules.read(modules.find(name) as ShippedModule)).toEqual(content);
});

test("modules are found by either spelling, and by KBUILD_MODFILE", async () => {
  const modules = await ShippedModules.open(folder);
  expect(modules.find("tcp-bbr")).toEqual({ name: "tcp_bbr", modfile: "net/ipv4/tcp-bbr" });
  expect(modules.find("net/ipv4/tcp-bbr")).toEqual(modules.find("tcp_bbr"));
  expect(modules.find("net/ipv6/tcp-bbr")).toBeUndefined();
  expect(modules.find("rng_core")).toBeUndefined();
  expect(modules.isBuiltin("rng-core")).toBe(true);
  expect(modules.isBuiltin("fuse")).toBe(false);
  expect(modules.loadable.map(({ name }) => name)).toEqual(["fuse", "tcp_bbr", "zram", "gone", "ext4"]);
});

test("a listed module without a file", async () => {
  const modules = await ShippedModules.open(folder);
  await expect(modules.read(modules.find("gone") as ShippedModule)).rejects.toMatchObject({
    code: "MODULE_FILE_MISSING",
    where: join(folder, "kernel/lib/gone.ko[.xz|.zst|.gz]"),
  });
});

test("a folder without lists", async () => {
  await expect(ShippedModules.open(join(folder, "kernel"))).rejects.toMatchObject({ code: "MODULES_MISSING" });
});

test.each([
  ["fs/fuse/fuse.ko", "fuse"],
  ["snd-hda-intel.ko.xz", "snd_hda_intel"],
  ["/lib/modules/x/kernel/a-b.ko.zst", "a_b"],
  ["nf_tables", "nf_tables"],
])("the name of %s is %s", (path, name) => {
  expect(moduleName(path)).toBe(name);
});

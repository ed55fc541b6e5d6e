import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import { KernelImage } from "../../src/kernel/image/kernel-image.ts";
import { requireSameConfig } from "../../src/kernel/image/same-config.ts";
import { type ElfSection, rodataAddress, sampleSymbols, textAddress, tinyKernel } from "./tiny-kernel.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kmend-config-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** The version of the tiny kernel says `SMP PREEMPT_DYNAMIC`. */
const fitting = "CONFIG_SMP=y\nCONFIG_PREEMPT_DYNAMIC=y\n";

async function check(config: string, names: readonly string[] = [], more: readonly ElfSection[] = []): Promise<void> {
  const further = names.map((name, index) => ({ address: textAddress + 0x10 + index, type: "T", name }));
  const symbols = sampleSymbols();
  symbols.splice(symbols.findIndex(({ name }) => name === "_stext") + 1, 0, ...further);
  const image = join(folder, "vmlinux");
  const path = join(folder, "config");
  writeFileSync(image, tinyKernel(symbols, undefined, more));
  writeFileSync(path, config);
  await requireSameConfig(path, await KernelImage.open(image, folder));
}

test("nothing is known that would differ", async () => {
  await check(fitting);
  await check(`${fitting}CONFIG_BLOCK=y\nCONFIG_NET=y\n`, ["submit_bio", "sock_register"]);
});

test.each([
  ["CONFIG_SMP=y\n", [], "its version says PREEMPT_DYNAMIC, and the configuration has no CONFIG_PREEMPT_DYNAMIC"],
  [fitting, ["submit_bio"], "it has submit_bio(), and the configuration has no CONFIG_BLOCK"],
  [`${fitting}CONFIG_BLOCK=m\n`, ["submit_bio"], "it has submit_bio(), and the configuration has no CONFIG_BLOCK"],
  [
    `${fitting}CONFIG_BLOCK=y\nCONFIG_PCI=y\n`,
    [],
    "it has no submit_bio(), and the configuration has CONFIG_BLOCK; it has no __pci_register_driver(), and the configuration has CONFIG_PCI",
  ],
  ["", ["submit_bio", "key_alloc"], "; and 1 more"],
])("%j is not the configuration of a kernel with %j", async (config, names, why) => {
  await expect(check(config, names)).rejects.toMatchObject({
    code: "IMAGE_OF_OTHER_CONFIG",
    exitCode: 2,
    why: expect.stringContaining(why),
    hint: expect.stringContaining("--config FILE"),
  });
});

test("one function that is missing may have another name", async () => {
  await check(`${fitting}CONFIG_BLOCK=y\n`);
});

test("a configuration in the image is compared, but for what tells of tools", async () => {
  const embedded = `${fitting}CONFIG_IKCONFIG=y\nCONFIG_HZ=250\nCONFIG_CC_VERSION_TEXT="one"\n`;
  const marked = Buffer.concat([Buffer.from("IKCFG_ST"), gzipSync(embedded), Buffer.from("IKCFG_ED")]);
  const section: ElfSection = { name: ".rodata", type: 1, flags: 2, address: rodataAddress + 0x500000, data: marked };
  await check(embedded.replace('"one"', '"two"'), [], [section]);
  await expect(check(embedded.replace("250", "1000"), [], [section])).rejects.toMatchObject({
    why: "the kernel says CONFIG_HZ=250, the configuration CONFIG_HZ=1000",
  });
  await expect(check(`${embedded}CONFIG_NEW=y\n`, [], [section])).rejects.toMatchObject({
    why: "the kernel says that CONFIG_NEW is not set, the configuration CONFIG_NEW=y",
  });
});

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { restoreRustOptions } from "../../src/kernel/tree/rust-options.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-rust-"));
});
afterEach(() => rmSync(root, { recursive: true }));

const compiler = 'CONFIG_CC_VERSION_TEXT="gcc-14 14.2.0"\n';

function write(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

async function restore(
  wanted: string,
  got: string,
): Promise<{ names: readonly string[]; conf: string; header: string }> {
  write({
    config: wanted,
    "tree/.config": got,
    "tree/include/config/auto.conf": "CONFIG_A=y\n",
    "tree/include/generated/autoconf.h": "#define CONFIG_A 1\n",
  });
  const names = await restoreRustOptions(join(root, "config"), join(root, "tree"));
  const read = (path: string): string => readFileSync(join(root, "tree", path), "utf8");
  return { names, conf: read("include/config/auto.conf"), header: read("include/generated/autoconf.h") };
}

test("options that went with Rust are put back as Kconfig writes them, what the programs here answer is not", async () => {
  const rust = 'CONFIG_RUST=y\nCONFIG_QR=y\nCONFIG_PHY=m\nCONFIG_URL="https://example.org/#"\nCONFIG_QR_VERSION=40\n';
  const programs =
    'CONFIG_RUSTC_VERSION=108501\nCONFIG_RUSTC_VERSION_TEXT="rustc 1.85.1"\nCONFIG_BINDGEN_VERSION_TEXT="0.71"\nCONFIG_CC_HAS_IT=y\n';
  const { names, conf, header } = await restore(
    `${compiler}CONFIG_A=y\n${rust}${programs}`,
    `${compiler}CONFIG_A=y\nCONFIG_RUSTC_VERSION=0\n# CONFIG_NEW is not set\n`,
  );
  expect(names).toEqual(["CONFIG_RUST", "CONFIG_QR", "CONFIG_PHY", "CONFIG_URL", "CONFIG_QR_VERSION"]);
  expect(conf).toBe(`CONFIG_A=y\n${rust}`);
  expect(header).toBe(
    "#define CONFIG_A 1\n#define CONFIG_RUST 1\n#define CONFIG_QR 1\n#define CONFIG_PHY_MODULE 1\n" +
      '#define CONFIG_URL "https://example.org/#"\n#define CONFIG_QR_VERSION 40\n',
  );
});

test.each([
  ["without Rust in the kernel", `${compiler}CONFIG_B=y\n`, compiler],
  ["with Rust here", `${compiler}CONFIG_RUST=y\nCONFIG_B=y\n`, `${compiler}CONFIG_RUST=y\n`],
  ["with another compiler", `${compiler}CONFIG_RUST=y\nCONFIG_B=y\n`, 'CONFIG_CC_VERSION_TEXT="gcc-12 12.2.0"\n'],
])("nothing is put back %s", async (_, wanted, got) => {
  expect(await restore(wanted, got)).toEqual({ names: [], conf: "CONFIG_A=y\n", header: "#define CONFIG_A 1\n" });
});

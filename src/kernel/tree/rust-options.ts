import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../../support/cache.ts";

/** Options that say what the programs here are able to do; these are answered by the programs here. */
const ofPrograms = /^CONFIG_(?:\w+_)?(?:AS|LD|LLD|CC|GCC|CLANG|PAHOLE|TOOLS|RUSTC|BINDGEN)_/;

/**
 * Kconfig drops `CONFIG_RUST` and whatever depends on it where the Rust compiler that the kernel was built with is not installed, and `make modules_prepare` with it
 * would build the Rust part of the kernel, which no patch of C code needs. But C code is compiled as these options say: `drivers/gpu/drm/drm_panic.c` has
 * other code with `CONFIG_DRM_PANIC_SCREEN_QR_CODE`, which depends on Rust. So they are put back into what the compiler and Kbuild read after
 * the tree was prepared without them. Nothing is put back where another compiler answered Kconfig's questions, since options may have gone for that.
 * @param configPath the kernel's configuration.
 * @returns the options that were put back.
 */
export async function restoreRustOptions(configPath: string, tree: string): Promise<readonly string[]> {
  const [wanted, got] = await Promise.all([configPath, join(tree, ".config")].map(readOptions));
  if (wanted === undefined || got === undefined) return [];
  const isLost = wanted.get("CONFIG_RUST") === "y" && got.get("CONFIG_RUST") !== "y";
  if (!isLost || wanted.get("CONFIG_CC_VERSION_TEXT") !== got.get("CONFIG_CC_VERSION_TEXT")) return [];
  const lost = [...wanted].filter(([name]) => !got.has(name) && !ofPrograms.test(name));
  const lines = lost.map(([name, value]) => `${name}=${value}\n`).join("");
  const defines = lost.map(([name, value]) => `${defineOf(name, value)}\n`).join("");
  await append(join(tree, "include/config/auto.conf"), lines);
  await append(join(tree, "include/generated/autoconf.h"), defines);
  return lost.map(([name]) => name);
}

async function append(path: string, text: string): Promise<void> {
  await writeFileAtomically(path, `${await readFile(path, "utf8")}${text}`);
}

/** As scripts/kconfig/confdata.c writes them: `CONFIG_A 1`, `CONFIG_B_MODULE 1`, and numbers and strings as they are. */
function defineOf(name: string, value: string): string {
  if (value === "y") return `#define ${name} 1`;
  if (value === "m") return `#define ${name}_MODULE 1`;
  return `#define ${name} ${value}`;
}

async function readOptions(path: string): Promise<ReadonlyMap<string, string>> {
  const text = await readFile(path, "utf8");
  return new Map([...text.matchAll(/^(CONFIG_\w+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value]));
}

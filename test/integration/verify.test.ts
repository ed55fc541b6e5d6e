import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  openSync,
  readFileSync,
  readSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { VerifyResult } from "../../src/build/verify.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { ShippedModules } from "../../src/kernel/modules/shipped-module.ts";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import { signModule } from "../../src/package/sign-module.ts";
import { readManifest } from "../../src/patch-module/manifest-note.ts";
import { readModinfo } from "../../src/patch-module/modinfo.ts";
import { cacheRoot, sha256 } from "../../src/support/cache.ts";
import { SilentProgress } from "../../src/support/progress.ts";
import { version } from "../../src/support/version.ts";
import { kmend } from "../cli/captured.ts";
import { build, Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
const examples = ["meminfo-string", "zram-module"].map((name) =>
  fileURLToPath(new URL(`../../examples/${name}.patch`, import.meta.url)),
);
let stock: StockKernel;
/** A patch module for functions of the kernel and of zram. */
let module: string;

beforeAll(async () => {
  stock = await stockKernel();
  const { result, stderr } = await build(examples, scratch.folder(), "--name", "livepatch-two");
  expect(result.outcome, stderr).toBe("built");
  module = result.module?.path ?? "";
});
afterAll(() => scratch.remove());

async function verify(...words: readonly string[]): Promise<{ exitCode: number; result: VerifyResult }> {
  const { exitCode, stdout, stderr } = await kmend("verify", ...words, "--json");
  expect(stderr.match(/^error\[/gm), stderr).toBeNull();
  return { exitCode, result: JSON.parse(stdout) as VerifyResult };
}

function problems({ items }: VerifyResult): string[] {
  return items.flatMap(({ kind, name, problem }) => (problem === null ? [] : [`${kind} ${name}: ${problem}`]));
}

function flipped(path: string, place: number): void {
  const file = openSync(path, "r+");
  const byte = new Uint8Array(1);
  readSync(file, byte, 0, 1, place);
  writeSync(file, Uint8Array.of((byte[0] as number) ^ 1), 0, 1, place);
}

/** A copy of the module in which one byte is another. */
function altered(place: number): string {
  const path = join(scratch.folder(), "livepatch-two.ko");
  copyFileSync(module, path);
  flipped(path, place);
  return path;
}

describe("a patch module", () => {
  test("is proven again for the kernel that it was built for", async () => {
    const { exitCode, result } = await verify(module);
    expect(exitCode).toBe(0);
    expect(result).toMatchObject({
      schema: 1,
      outcome: "proven",
      file: "intact",
      module: { name: "livepatch-two" },
      builtFor: { release: stock.kernel.release, buildId: stock.kernel.buildId },
      kernel: { release: stock.kernel.release, buildId: stock.kernel.buildId },
    });
    expect(problems(result)).toEqual([]);
    const objects = result.items.filter(({ kind }) => kind === "function").map(({ object }) => object);
    expect([...new Set(objects)].sort()).toEqual(["vmlinux", "zram"]);
    expect(result.items.some(({ kind }) => kind === "symbol")).toBe(true);
  });

  test("says what it was built from", () => {
    const elf = new ElfReader(readFileSync(module));
    const info = readModinfo(elf);
    expect(info.get("kmend")).toEqual([version()]);
    expect(info.get("kmend.kernel")).toEqual([stock.kernel.buildId]);
    const digests = examples.map((path) => sha256(readFileSync(path)));
    expect(info.get("kmend.patch")?.map((text) => text.split(" ")[0])).toEqual(digests);
    const manifest = readManifest(elf);
    expect(manifest).toMatchObject({
      kmend: version(),
      kernel: { release: stock.kernel.release, buildId: stock.kernel.buildId },
      patches: digests.map((digest) => expect.objectContaining({ sha256: digest })),
    });
    expect(manifest?.functions.map(({ name }) => name)).toContain("meminfo_proc_show");
    for (const { bytes, sha256: digest } of manifest?.functions ?? []) {
      expect(bytes).toBeGreaterThan(0);
      expect(digest).toMatch(/^[0-9a-f]{64}$/);
    }
  });

  test("is proven against the image that is given, and the words say so", async () => {
    const { exitCode, stdout } = await kmend("verify", module, "--image", stock.kernel.imagePath);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^proven: \d+ functions? and \d+ symbols? held against /m);
  });

  test("is not proven for another release", async () => {
    const kernels = await new Debian().kernels({ cache: cacheRoot(), progress: new SilentProgress() });
    const other = kernels.filter(
      ({ release }) => /^6\.(1\.0-\d+|12\.\d+\+deb\d+)-amd64$/.test(release) && release !== stock.kernel.release,
    );
    const series = other.filter(({ release }) => release.split(".")[1] !== stock.kernel.release.split(".")[1]).at(-1);
    const { exitCode, result } = await verify(module, "--kernel", series?.release ?? "");
    expect(exitCode).toBe(6);
    expect(result.outcome).toBe("failed");
    expect(result.kernel.buildId).not.toBe(result.builtFor.buildId);
    expect(problems(result).join("\n")).toMatch(/^function meminfo_proc_show: it is at 0x[0-9a-f]{16}, and was at /m);
  });

  test("is intact when it is signed", async () => {
    const path = join(scratch.folder(), "livepatch-two.ko");
    const [key, certificate] = [join(scratch.folder(), "key.pem"), join(scratch.folder(), "certificate.pem")];
    const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=live patches", "-days", "2"];
    execFileSync("openssl", [...request, "-keyout", key, "-out", certificate], { stdio: "pipe" });
    writeFileSync(path, await signModule(readFileSync(module), { key, certificate }));
    expect((await verify(path)).result).toMatchObject({ outcome: "proven", file: "intact" });
    truncateSync(path, readFileSync(module).length - 1);
    expect((await kmend("verify", path)).exitCode).not.toBe(0);
  });
});

describe("an image of which one byte is another", () => {
  let image: string;
  beforeAll(() => {
    image = join(scratch.folder(), "vmlinux");
    copyFileSync(stock.kernel.image.unpacked.path, image);
    chmodSync(image, 0o644);
  });

  function placeOf(name: string, offset: number): number {
    const kallsyms = stock.kernel.image.kallsyms();
    const address = kallsyms.addressOf(kallsyms.indicesOf(name)[0] as number) + offset;
    const section = stock.kernel.image.sectionAt(address);
    return (section?.offset ?? 0) + address - (section?.address ?? 0);
  }

  test("in a patched function is found out", async () => {
    const place = placeOf("meminfo_proc_show", 0x33);
    flipped(image, place);
    const { exitCode, result } = await verify(module, "--image", image);
    flipped(image, place);
    expect(exitCode).toBe(6);
    expect(problems(result)).toEqual([
      "function meminfo_proc_show: its code is not the one that was matched when the module was built",
    ]);
  });

  test("in another function does not matter", async () => {
    flipped(image, placeOf("version_proc_show", 9));
    expect((await verify(module, "--image", image)).result.outcome).toBe("proven");
  });
});

describe("a module of which one byte is another", () => {
  const section = (name: string): { offset: number; size: number } => {
    const found = new ElfReader(readFileSync(module)).sections.find((each) => each.name === name);
    if (found === undefined) throw new Error(`the module has no ${name}`);
    return found;
  };

  test.each([".text", ".rela.text", ".modinfo", ".note.kmend", ".symtab"])("in %s", async (name) => {
    const names = new ElfReader(readFileSync(module)).sections.map((each) => each.name);
    const wanted = names.find((each) => each === name || each.startsWith(`${name}.`)) ?? name;
    const { offset, size } = section(wanted);
    const place = name === ".note.kmend" ? readFileSync(module).indexOf('seal":"', offset) + 10 : offset + (size >> 1);
    const { exitCode, stdout } = await kmend("verify", altered(place));
    expect(exitCode, stdout).toBe(6);
    expect(stdout).toContain("the module's file is not as it was built");
    expect(stdout).toMatch(/^failed: /m);
  });

  test("that is cut off", async () => {
    const path = altered(0x100);
    truncateSync(path, 5000);
    const { exitCode, stderr } = await kmend("verify", path);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(path);
    expect(stderr.match(/^error\[(\w+)/gm)).toEqual(["error[ELF_FORMAT"]);
  });
});

describe("what cannot be verified", () => {
  async function refused(path: string): Promise<string> {
    const { exitCode, stderr, stdout } = await kmend("verify", path, "--json");
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain(path);
    expect(stderr).toContain("hint:");
    const { outcome, error } = JSON.parse(stdout) as { outcome: string; error: { code: string } };
    expect(outcome).toBe("failed");
    expect(stderr.match(/^error\[(\w+)\]/gm)).toEqual([`error[${error.code}]`]);
    return error.code;
  }

  test("a module of somebody else's", async () => {
    const modules = await ShippedModules.open(stock.kernel.modulesDir);
    const shipped = modules.find("zram");
    if (shipped === undefined) throw new Error("the kernel has no zram");
    expect(await refused(scratch.file("zram.ko", await modules.read(shipped)))).toBe("NO_MANIFEST");
  });

  test("a text", async () => {
    expect(await refused(scratch.file("livepatch-fix.ko", "no module\n".repeat(100)))).toBe("ELF_FORMAT");
  });

  test("a folder, and nothing at all", async () => {
    expect(await refused(scratch.folder())).toBe("NOT_A_PATCH_MODULE");
    expect(await refused(join(scratch.path, "nowhere.ko"))).toBe("NOT_A_PATCH_MODULE");
  });
});

import { execFileSync } from "node:child_process";
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { unpackImageBytes } from "../../src/kernel/image/image.ts";
import { KernelImage } from "../../src/kernel/image/kernel-image.ts";
import { Scratch, type StockKernel, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: StockKernel;
/** The stock kernel's boot image, and the ELF file in it. */
let image: Buffer;
let kernel: Buffer;

beforeAll(async () => {
  stock = await stockKernel();
  image = readFileSync(stock.kernel.imagePath);
  kernel = readFileSync(stock.kernel.image.unpacked.path);
});
afterAll(() => scratch.remove());

function compress(program: string, ...args: string[]): Buffer {
  return execFileSync(program, args, { input: kernel, maxBuffer: 2 ** 30, stdio: ["pipe", "pipe", "ignore"] });
}

/** The formats as scripts/Makefile.lib makes them, but as quickly as they can be made. */
const formats: Readonly<Record<string, () => Buffer>> = {
  gzip: () => gzipSync(kernel, { level: 1 }),
  bzip2: () => compress("bzip2", "-1"),
  lzma: () => compress("xz", "--format=lzma", "-0", "-c"),
  xz: () => compress("xz", "--check=crc32", "--x86", "--lzma2=preset=0"),
  lzo: () => compress("lzop", "-1"),
  lz4: () => compress("lz4", "-l", "-1", "-", "-"),
  zstd: () => compress("zstd", "-1"),
};

/** All but gzip get the unpacked size appended. */
function withSize(name: string, data: Buffer): Buffer {
  const size = Buffer.alloc(name === "gzip" ? 0 : 4);
  if (size.length > 0) size.writeUInt32LE(kernel.length);
  return Buffer.concat([data, size]);
}

/** The stock kernel's own setup code and decompressor with another payload (Documentation/arch/x86/boot.rst, payload_offset and payload_length). */
function bootImage(payload: Buffer): Buffer {
  const start = (image.readUInt8(0x1f1) + 1) * 512 + image.readUInt32LE(0x248);
  const end = start + image.readUInt32LE(0x24c);
  const head = Buffer.from(image.subarray(0, start));
  head.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([head, payload, image.subarray(end)]);
}

/** drivers/firmware/efi/libstub/zboot-header.S: the payload's length leaves the appended size out. */
function efiImage(name: string, payload: Buffer): Buffer {
  const head = Buffer.alloc(0x1000);
  head.write("MZ\0\0zimg", 0, "latin1");
  head.writeUInt32LE(head.length, 8);
  head.writeUInt32LE(payload.length - (name === "gzip" ? 0 : 4), 12);
  head.write(name, 24, "latin1");
  return Buffer.concat([head, payload, Buffer.alloc(512)]);
}

async function codeOf(file: Buffer): Promise<unknown> {
  return unpackImageBytes(file, "vmlinuz").then(
    (data) => (data.equals(kernel) ? "the kernel" : "something else"),
    (error: unknown) => (error as { code: string }).code,
  );
}

test("the boot image is taken apart as it was put together", async () => {
  const start = (image.readUInt8(0x1f1) + 1) * 512 + image.readUInt32LE(0x248);
  const own = image.subarray(start, start + image.readUInt32LE(0x24c));
  expect(bootImage(own).equals(image)).toBe(true);
  expect(await codeOf(image)).toBe("the kernel");
});

describe.each(Object.entries(formats))("the stock kernel in %s", (name, make) => {
  test("as a boot image, as EFI zboot, damaged and cut off", async () => {
    const payload = withSize(name, make());
    expect(await codeOf(bootImage(payload))).toBe("the kernel");
    // The other formats in EFI zboot are tested with a small kernel, in test/target.
    if (name === "gzip" || name === "zstd") expect(await codeOf(efiImage(name, payload))).toBe("the kernel");
    const cut = Buffer.concat([payload.subarray(0, payload.length >> 1), payload.subarray(-4)]);
    expect(await codeOf(bootImage(cut))).toBe("COMPRESSION_DAMAGED");
    expect(await codeOf(bootImage(payload).subarray(0, payload.length >> 1))).toBe("IMAGE_TRUNCATED");
    // lz4 as the kernel has it has no checksum; there the match has to find out, which looks at every byte that matters.
    const damaged = Buffer.from(payload);
    damaged.fill(0xff, damaged.length >> 1, (damaged.length >> 1) + 64);
    const codes = ["COMPRESSION_DAMAGED", "IMAGE_DAMAGED", ...(name === "lz4" ? ["something else"] : [])];
    expect(codes).toContain(await codeOf(bootImage(damaged)));
  });
});

describe("the ELF file itself", () => {
  async function symbolsOf(path: string): Promise<number> {
    const opened = await KernelImage.open(path, scratch.folder());
    expect(opened.buildId).toBe(stock.kernel.buildId);
    expect(opened.btf?.length).toBe(stock.kernel.image.btf?.length);
    return opened.kallsyms().count;
  }

  test("stripped, and with a symbol table", async () => {
    const stripped = join(scratch.folder(), "vmlinux");
    execFileSync("strip", ["-s", "-o", stripped, stock.kernel.image.unpacked.path]);
    expect(await symbolsOf(stripped)).toBe(stock.kernel.image.kallsyms().count);
    const full = join(scratch.folder(), "vmlinux");
    execFileSync("objcopy", ["--add-symbol", "kmend_test=.text:0x10,function", stripped, full]);
    expect(execFileSync("readelf", ["-sW", full], { encoding: "latin1" })).toContain("kmend_test");
    expect(await symbolsOf(full)).toBe(stock.kernel.image.kallsyms().count);
  });

  test.each([
    ["without section headers", (file: Buffer) => file.fill(0, 40, 48).fill(0, 58, 64)],
    ["of 32 bits", (file: Buffer) => file.fill(1, 4, 5)],
    ["that is no kernel", () => readFileSync(process.execPath)],
  ])("%s is one clear error", async (_, change) => {
    const path = scratch.file("vmlinux", change(Buffer.from(kernel)));
    const error = await KernelImage.open(path, scratch.folder())
      .then((opened) => opened.kallsyms())
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: expect.stringMatching(/^(IMAGE|KALLSYMS)_/),
      hint: expect.stringMatching(/./),
    });
    expect(`${(error as { where: string }).where}`).toContain(path);
  });

  test("cut off in the middle", async () => {
    const path = join(scratch.folder(), "vmlinux");
    copyFileSync(stock.kernel.image.unpacked.path, path);
    truncateSync(path, kernel.length >> 1);
    await expect(KernelImage.open(path, scratch.folder())).rejects.toMatchObject({ code: "IMAGE_DAMAGED" });
    writeFileSync(path, "");
    await expect(KernelImage.open(path, scratch.folder())).rejects.toMatchObject({ code: "IMAGE_FOREIGN" });
  });
});

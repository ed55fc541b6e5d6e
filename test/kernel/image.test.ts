import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { unpackImage, unpackImageBytes } from "../../src/kernel/image/image.ts";
import { KernelImage } from "../../src/kernel/image/kernel-image.ts";
import { banner, buildId, rodataAddress, textAddress, tinyKernel } from "./tiny-kernel.ts";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "kmend-image-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const kernel = tinyKernel();

/** As scripts/Makefile.lib compresses kernels (cmd_…_with_size): all but gzip get the unpacked size appended. */
const compressors: Readonly<Record<string, (data: Buffer) => Buffer>> = {
  gzip: (data) => gzipSync(data),
  bzip2: (data) => withSize(data, "bzip2", "-9"),
  lzma: (data) => withSize(data, "xz", "--format=lzma", "-9", "-c"),
  xz: (data) => withSize(data, "xz", "--check=crc32", "--x86", "--lzma2=dict=32MiB"),
  lzo: (data) => withSize(data, "lzop", "-9"),
  lz4: (data) => withSize(data, "lz4", "-l", "-9", "-", "-"),
  zstd: (data) => withSize(data, "zstd", "-19"),
};

function withSize(data: Buffer, program: string, ...args: string[]): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(data.length);
  return Buffer.concat([execFileSync(program, args, { input: data, stdio: ["pipe", "pipe", "ignore"] }), size]);
}

/** A boot image whose payload begins 0x40 bytes behind the two setup sectors. */
function bzImage(payload: Buffer): Buffer {
  const setup = Buffer.alloc(3 * 512 + 0x40);
  setup.writeUInt8(2, 0x1f1);
  setup.writeUInt16LE(0xaa55, 0x1fe);
  setup.write("HdrS", 0x202, "latin1");
  setup.writeUInt16LE(0x20f, 0x206);
  setup.writeUInt32LE(0x40, 0x248);
  setup.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([setup, payload, Buffer.alloc(100)]);
}

/** EFI zboot leaves the appended size out of the payload's length. */
function zboot(payload: Buffer, appended: number): Buffer {
  const header = Buffer.alloc(0x80);
  header.write("MZ", 0, "latin1");
  header.write("zimg", 4, "latin1");
  header.writeUInt32LE(0x80, 8);
  header.writeUInt32LE(payload.length - appended, 12);
  return Buffer.concat([header, payload, Buffer.alloc(64)]);
}

describe.each(Object.entries(compressors))("%s", (name, compress) => {
  test("in a bzImage", async () => {
    expect(await unpackImageBytes(bzImage(compress(kernel)), "vmlinuz")).toEqual(kernel);
  });

  test("in EFI zboot", async () => {
    expect(await unpackImageBytes(zboot(compress(kernel), name === "gzip" ? 0 : 4), "vmlinuz.efi")).toEqual(kernel);
  });

  test("a payload cut short", async () => {
    const payload = compress(kernel).subarray(0, 1000);
    await expect(unpackImageBytes(bzImage(payload), "vmlinuz")).rejects.toMatchObject({
      code: "COMPRESSION_DAMAGED",
      where: "vmlinuz",
    });
  });
});

describe("plain files", () => {
  test("an ELF kernel is used where it is", async () => {
    const path = join(root, "vmlinux");
    await writeFile(path, kernel);
    const unpacked = await unpackImage(path, root);
    expect(unpacked.path).toBe(path);
    expect(unpacked.file.view(0, kernel.length)).toEqual(kernel);
  });

  test("an ELF kernel in a compressed file", async () => {
    expect(await unpackImageBytes(gzipSync(kernel), "vmlinux.gz")).toEqual(kernel);
  });
});

test("an image is unpacked once and opened from the cache", async () => {
  const path = join(root, "vmlinuz");
  await writeFile(path, bzImage(gzipSync(kernel)));
  const first = await unpackImage(path, root);
  await writeFile(first.path, Buffer.concat([kernel, Buffer.from("kept")]));
  const second = await unpackImage(path, root);
  expect(second.path).toBe(first.path);
  expect(second.file.view(kernel.length, 4).toString()).toBe("kept");
  await writeFile(path, bzImage(gzipSync(Buffer.concat([kernel, Buffer.from([0])]))));
  expect((await unpackImage(path, root)).path).not.toBe(first.path);
});

test("build id, banner, bytes and BTF of an image", async () => {
  const path = join(root, "opened");
  await writeFile(path, bzImage(gzipSync(kernel)));
  await unpackImage(path, root);
  const image = await KernelImage.open(path, root);
  expect(image.buildId).toBe(buildId);
  expect(image.banner.text).toBe(banner);
  expect(image.bytesAt(rodataAddress, 5)).toEqual(Buffer.from("Linux"));
  expect(image.bytesAt(textAddress + 0x7ffe, 2)).toEqual(Buffer.from([0x90, 0x90]));
  expect(image.bytesAt(textAddress + 0x7fff, 2)).toBeUndefined();
  expect(image.bytesAt(textAddress - 1, 1)).toBeUndefined();
  expect(image.bytesAt(0x10, 1)).toBeUndefined();
  expect(image.btf).toEqual(Buffer.from([0x9f, 0xeb, 1, 0]));
});

describe("what is refused", () => {
  const refusal = async (image: Buffer): Promise<unknown> => {
    try {
      return (await unpackImageBytes(image, "vmlinuz")).length;
    } catch (error) {
      const { code, where } = error as { code: string; where: string };
      return `${code} at ${where}`;
    }
  };

  test("a truncated image", async () => {
    const whole = bzImage(gzipSync(kernel));
    expect(await refusal(whole.subarray(0, 4000))).toBe("IMAGE_TRUNCATED at vmlinuz, offset 0xfa0");
  });

  test("a foreign file", async () => {
    expect(await refusal(Buffer.from("#!/bin/sh\n"))).toBe("IMAGE_FOREIGN at vmlinuz, offset 0x0");
    expect(await refusal(Buffer.alloc(0))).toBe("IMAGE_FOREIGN at vmlinuz, offset 0x0");
  });

  test("an unknown compression", async () => {
    expect(await refusal(bzImage(Buffer.alloc(500, 0xee)))).toBe("IMAGE_COMPRESSION_UNKNOWN at vmlinuz, offset 0x640");
  });

  test("a payload that is no ELF file", async () => {
    const flat = zboot(gzipSync(Buffer.alloc(500)), 0);
    expect(await refusal(flat)).toBe("IMAGE_NOT_ELF at vmlinuz, offset 0x80");
  });

  test("a payload of another size than the image says", async () => {
    const payload = compressors["zstd"]?.(kernel) as Buffer;
    payload.writeUInt32LE(kernel.length + 1, payload.length - 4);
    expect(await refusal(bzImage(payload))).toMatch(/^IMAGE_DAMAGED/);
  });

  test("a boot protocol before 2.08", async () => {
    const old = bzImage(gzipSync(kernel));
    old.writeUInt16LE(0x207, 0x206);
    expect(await refusal(old)).toBe("IMAGE_TOO_OLD at vmlinuz, offset 0x206");
  });

  test("a missing file", async () => {
    await expect(unpackImage(join(root, "missing"), root)).rejects.toMatchObject({ code: "IMAGE_UNREADABLE" });
  });

  test("a folder", async () => {
    await expect(unpackImage(root, root)).rejects.toMatchObject({ code: "IMAGE_UNREADABLE" });
  });
});

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { unpackImage, unpackImageBytes } from "../../src/kernel/image/image.ts";
import { decompress } from "../../src/support/decompress.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-unpacked-"));
afterAll(() => rmSync(folder, { recursive: true }));

const content = Buffer.alloc(3 << 20);
const through = (program: string, ...args: string[]): Buffer =>
  execFileSync(program, args, { input: content, stdio: ["pipe", "pipe", "ignore"] });
const packed: Readonly<Record<string, () => Buffer>> = {
  gzip: () => gzipSync(content),
  bzip2: () => through("bzip2"),
  lzma: () => through("xz", "--format=lzma", "-c"),
  xz: () => through("xz", "-c"),
  lzo: () => through("lzop"),
  lz4: () => through("lz4", "-l", "-", "-"),
  zstd: () => through("zstd", "-c"),
};

describe.each(Object.entries(packed))("%s", (_, pack) => {
  test("is unpacked up to the limit", async () => {
    expect((await decompress(pack(), "x.ko", { limit: content.length })).equals(content)).toBe(true);
  });

  test("and no further", async () => {
    await expect(decompress(pack(), "x.ko", { limit: content.length - 1 })).rejects.toMatchObject({
      code: "UNPACKED_TOO_LARGE",
      where: "x.ko",
    });
  });
});

test("a stream that asks for more memory than kernels are packed with is refused", async () => {
  const dictionary = through("xz", "-c", "--lzma2=dict=1536MiB,mode=fast,mf=hc3,nice=4");
  await expect(decompress(dictionary, "vmlinuz")).rejects.toMatchObject({ code: "COMPRESSION_DAMAGED", why: /limit/i });
});

/** A boot image that says what its kernel unpacks to. */
function bzImage(payload: Buffer, says: number): Buffer {
  const setup = Buffer.alloc(3 * 512);
  setup.writeUInt8(2, 0x1f1);
  setup.writeUInt16LE(0xaa55, 0x1fe);
  setup.write("HdrS", 0x202, "latin1");
  setup.writeUInt16LE(0x20f, 0x206);
  setup.writeUInt32LE(payload.length + 4, 0x24c);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(says);
  return Buffer.concat([setup, payload, size]);
}

test("an image that unpacks to much more than it says is not unpacked further", async () => {
  const image = bzImage((packed["zstd"] as () => Buffer)(), 4096);
  await expect(unpackImageBytes(image, "vmlinuz")).rejects.toMatchObject({ code: "UNPACKED_TOO_LARGE" });
});

test("files larger than any image are not read", async () => {
  for (const [name, start, size] of [
    ["vmlinuz", "MZ", 2 ** 29 + 1],
    ["vmlinux", "\x7fELF", 2 ** 33],
  ] as const) {
    const path = join(folder, name);
    writeFileSync(path, start);
    truncateSync(path, size);
    await expect(unpackImage(path, folder)).rejects.toMatchObject({ code: "IMAGE_TOO_LARGE", where: path });
  }
});

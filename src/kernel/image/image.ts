import { createReadStream } from "node:fs";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exists, makeOnce, sha256 } from "../../support/cache.ts";
import { compressionOf, decompress, unpackedLimit } from "../../support/decompress.ts";
import { KmendError, systemErrorCode } from "../../support/errors.ts";
import { readInputFile, requireInputFile } from "../../support/input-file.ts";
import { digestOfFile } from "./file-digest.ts";
import { LazyFile } from "./lazy-file.ts";

/** An unpacked kernel image. */
export interface UnpackedImage {
  /** ELF file; the image itself when it is not compressed. */
  readonly path: string;
  /** Content of `path`. */
  readonly file: LazyFile;
  /** SHA-256 of the image as it was given. */
  readonly sha256: string;
  /** Folder for what is derived from exactly these bytes. */
  readonly folder: string;
}

/** Where the compressed kernel lies in an image, in bytes. */
interface Payload {
  readonly offset: number;
  readonly length: number;
  /** Size after unpacking, when the image says so. */
  readonly unpackedSize: number | undefined;
  /** What the wrapping is called, for messages. */
  readonly container: string;
}

/** How many bytes more than it says an image is unpacked, so that the error can tell the true size of one that was cut or padded a little. */
const sizeSlack = 1 << 20;

/** The largest ELF file that is looked at: 4 GiB, which one buffer of Node can hold. */
const plainLimit = 2 ** 32 - 1;

const elfMagic = Buffer.from([0x7f, 0x45, 0x4c, 0x46]);

/**
 * Unpacks a kernel image (bzImage, EFI zboot, a compressed or plain ELF file) into the cache, once per content.
 * @throws KmendError `IMAGE_…` with the offset of what is wrong.
 */
export async function unpackImage(path: string, cache: string, signal?: AbortSignal): Promise<UnpackedImage> {
  await requireInputFile(path).catch((error: unknown) => {
    throw error instanceof KmendError ? error : unreadable(path, error);
  });
  const isPlain = await isElf(path);
  await requireSize(path, isPlain ? plainLimit : unpackedLimit);
  const known = await digestOfFile(path, cache);
  const place = (digest: string) => ({ sha256: digest, folder: join(cache, "images", digest) });
  if (isPlain) {
    return { path, file: await LazyFile.open(path), ...place(known) };
  }
  const before = join(place(known).folder, "vmlinux");
  if (await exists(before)) return { path: before, file: await LazyFile.open(before), ...place(known) };
  const image = await readImage(path);
  const data = await unpackImageBytes(image, path, signal);
  const made = place(sha256(image));
  const unpacked = join(made.folder, "vmlinux");
  await makeOnce(unpacked, (temporary) => writeFile(temporary, data));
  return { path: unpacked, file: LazyFile.of(data), ...made };
}

/**
 * The ELF file in the bytes of a kernel image.
 * @param path name for messages.
 */
export async function unpackImageBytes(image: Buffer, path: string, signal?: AbortSignal): Promise<Buffer> {
  if (startsWith(image, elfMagic)) return image;
  const payload = findPayload(image, path);
  if (payload.offset + payload.length > image.length) {
    throw new KmendError({
      code: "IMAGE_TRUNCATED",
      message: `the kernel image is truncated: its ${payload.container} header names ${payload.offset + payload.length} bytes, the file has ${image.length}`,
      where: `${path}, offset 0x${image.length.toString(16)}`,
      hint: "fetch or install the kernel image again",
    });
  }
  const data = await unpackPayload(image, payload, path, signal);
  if (!startsWith(data, elfMagic)) {
    throw new KmendError({
      code: "IMAGE_NOT_ELF",
      message: `the ${payload.container} image does not hold an ELF kernel`,
      where: `${path}, offset 0x${payload.offset.toString(16)}`,
      why: `unpacked, it begins with ${hex(data.subarray(0, 8))}; flat images carry no section addresses`,
      hint: "give the vmlinux ELF file of this kernel with --image",
    });
  }
  if (payload.unpackedSize !== undefined && data.length !== payload.unpackedSize) {
    throw new KmendError({
      code: "IMAGE_DAMAGED",
      message: `the unpacked kernel has ${data.length} bytes where the image says ${payload.unpackedSize}`,
      where: `${path}, offset 0x${(payload.offset + payload.length - 4).toString(16)}`,
      hint: "fetch or install the kernel image again",
    });
  }
  return data;
}

async function unpackPayload(
  image: Buffer,
  payload: Payload,
  path: string,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  const data = image.subarray(payload.offset, payload.offset + payload.length);
  const compression = compressionOf(data);
  if (compression === undefined) {
    throw new KmendError({
      code: "IMAGE_COMPRESSION_UNKNOWN",
      message: `the kernel in the ${payload.container} image is compressed in an unknown way`,
      where: `${path}, offset 0x${payload.offset.toString(16)}`,
      why: `its first bytes are ${hex(data.subarray(0, 8))}; known are gzip, bzip2, lzma, xz, lzo, lz4 and zstd`,
      hint: "give the unpacked vmlinux of this kernel with --image",
    });
  }
  // The kernel build appends the unpacked size to every stream but gzip, whose own last four bytes are that size.
  const appended = payload.container === "bzImage" && compression !== "gzip" ? 4 : 0;
  // What the image says may be damaged too, so it can only make the limit smaller.
  const said = payload.unpackedSize ?? unpackedLimit;
  const limit = Math.min(unpackedLimit, said + sizeSlack);
  return decompress(data.subarray(0, data.length - appended), path, { signal, limit });
}

function findPayload(image: Buffer, path: string): Payload {
  const payload = bzImagePayload(image, path) ?? zbootPayload(image);
  if (payload !== undefined) return payload;
  if (compressionOf(image) !== undefined) {
    return { offset: 0, length: image.length, unpackedSize: undefined, container: "compressed" };
  }
  throw new KmendError({
    code: "IMAGE_FOREIGN",
    message: "this file is not a kernel image",
    where: `${path}, offset 0x0`,
    why:
      image.length === 0
        ? "it is empty"
        : `it begins with ${hex(image.subarray(0, 8))}: neither an ELF file nor an x86 boot image (HdrS at 0x202) nor EFI zboot (zimg at 0x4)`,
    hint: "give the vmlinuz or vmlinux file of the kernel, for example /boot/vmlinuz-RELEASE",
  });
}

/** Setup header of Documentation/arch/x86/boot.rst: magic at 0x202, setup_sects at 0x1f1, payload since protocol 2.08. */
function bzImagePayload(image: Buffer, path: string): Payload | undefined {
  if (image.length < 0x250) return undefined;
  if (image.toString("latin1", 0x202, 0x206) !== "HdrS" || image.readUInt16LE(0x1fe) !== 0xaa55) return undefined;
  const protocol = image.readUInt16LE(0x206);
  if (protocol < 0x208) {
    throw new KmendError({
      code: "IMAGE_TOO_OLD",
      message: `the boot image follows protocol ${protocol >> 8}.${protocol & 255}, which does not say where the kernel begins`,
      where: `${path}, offset 0x206`,
      hint: "give the vmlinux of this kernel with --image",
    });
  }
  const setupSectors = image.readUInt8(0x1f1) || 4;
  const offset = (setupSectors + 1) * 512 + image.readUInt32LE(0x248);
  const length = image.readUInt32LE(0x24c);
  const end = offset + length;
  const unpackedSize = end <= image.length && length >= 4 ? image.readUInt32LE(end - 4) : undefined;
  return { offset, length, unpackedSize, container: "bzImage" };
}

/** Header of drivers/firmware/efi/libstub/zboot-header.S: "MZ", "zimg" at 4, payload offset at 8 and its length at 12. */
function zbootPayload(image: Buffer): Payload | undefined {
  if (image.length < 0x40) return undefined;
  if (image.toString("latin1", 0, 2) !== "MZ" || image.toString("latin1", 4, 8) !== "zimg") return undefined;
  return {
    offset: image.readUInt32LE(8),
    length: image.readUInt32LE(12),
    unpackedSize: undefined,
    container: "EFI zboot",
  };
}

/** A vmlinux with debug information has a gigabyte, so it is neither copied nor read into memory. */
async function isElf(path: string): Promise<boolean> {
  const start = createReadStream(path, { end: elfMagic.length - 1 });
  try {
    for await (const bytes of start) return startsWith(bytes as Buffer, elfMagic);
  } catch (error) {
    throw unreadable(path, error);
  }
  return false;
}

/** @throws KmendError `IMAGE_TOO_LARGE` before such a file is read. */
async function requireSize(path: string, limit: number): Promise<void> {
  const { size } = await stat(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  if (size > limit) throw tooLarge(path, `the file has ${size} bytes`);
}

function tooLarge(path: string, why: string): KmendError {
  return new KmendError({
    code: "IMAGE_TOO_LARGE",
    message: "the kernel image is larger than that of any kernel",
    where: path,
    why,
    hint: "fetch or install the kernel image again",
  });
}

function readImage(path: string): Promise<Buffer> {
  return readInputFile(path).catch((error: unknown) => {
    if (error instanceof KmendError) throw error;
    throw unreadable(path, error);
  });
}

function unreadable(path: string, cause: unknown): KmendError {
  const missing = systemErrorCode(cause) === "ENOENT";
  return new KmendError({
    code: "IMAGE_UNREADABLE",
    message: missing ? "the kernel image does not exist" : "the kernel image cannot be read",
    where: path,
    hint: missing ? "give an existing file with --image" : "give a readable copy with --image",
    cause,
  });
}

function startsWith(data: Buffer, magic: Buffer): boolean {
  return data.subarray(0, magic.length).equals(magic);
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

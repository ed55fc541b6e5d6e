import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { rethrowDiskErrors, temporaryBeside } from "../support/cache.ts";
import { Kallsyms, type KallsymsData } from "./kallsyms.ts";
import { decodeKallsyms } from "./kallsyms-decode.ts";
import type { KernelImage } from "./kernel-image.ts";

/** First word of the file; its last digits change with the format. */
const magic = "kmendks1";
/** Magic, and five u32: symbols, bytes of text, hash buckets, and two spare. */
const headerSize = 32;

/** The kernel's symbols: from the cache when they were decoded before, else decoded and kept beside the unpacked image. */
export function loadKallsyms(image: KernelImage): Kallsyms {
  const { folder, path } = image.unpacked;
  const file = join(folder, "kallsyms.bin");
  const known = readCached(file);
  if (known !== undefined) return known;
  const kallsyms = decodeKallsyms({
    path,
    littleEndian: image.littleEndian,
    sections: image.loaded,
    contentOf: (section) => image.contentOf(section),
    bytesAt: (address, length) => image.bytesAt(address, length),
  });
  writeCached(file, folder, kallsyms.data);
  return kallsyms;
}

/** Layout of the file: header, addresses (f64), then offsets, next and heads (u32 each), then text. Byte order is that of the machine. */
function encode(data: KallsymsData): Buffer {
  const header = Buffer.alloc(headerSize);
  header.write(magic, "latin1");
  new Uint32Array(header.buffer, header.byteOffset + 8, 3).set([
    data.addresses.length,
    data.text.length,
    data.heads.length,
  ]);
  const parts = [data.addresses, data.offsets, data.next, data.heads, data.text];
  return Buffer.concat([header, ...parts.map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength))]);
}

/** @returns undefined for a file of another format or length. */
function decode(file: Buffer): Kallsyms | undefined {
  if (file.length < headerSize || file.toString("latin1", 0, 8) !== magic) return undefined;
  const aligned = file.byteOffset % 8 === 0 ? file : Buffer.from(new Uint8Array(file).buffer);
  const { buffer, byteOffset } = aligned;
  const [count, textLength, buckets] = new Uint32Array(buffer, byteOffset + 8, 3) as unknown as [
    number,
    number,
    number,
  ];
  let at = headerSize;
  const take = (bytes: number): number => {
    const start = byteOffset + at;
    at += bytes;
    return start;
  };
  if (headerSize + 8 * count + 4 * (count + 1 + count + buckets) + textLength !== file.length) return undefined;
  return new Kallsyms({
    addresses: new Float64Array(buffer, take(8 * count), count),
    offsets: new Uint32Array(buffer, take(4 * (count + 1)), count + 1),
    next: new Uint32Array(buffer, take(4 * count), count),
    heads: new Uint32Array(buffer, take(4 * buckets), buckets),
    text: new Uint8Array(buffer, take(textLength), textLength),
  });
}

function readCached(file: string): Kallsyms | undefined {
  try {
    return decode(readFileSync(file));
  } catch {
    return undefined;
  }
}

function writeCached(file: string, folder: string, data: KallsymsData): void {
  const temporary = temporaryBeside(file);
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(temporary, encode(data));
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    rethrowDiskErrors(error);
  }
}

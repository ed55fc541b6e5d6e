import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { rethrowDiskErrors, temporaryBeside } from "../../support/cache.ts";
import { Kallsyms, type KallsymsData } from "./kallsyms.ts";
import type { SectionPlace } from "./kallsyms-check.ts";
import { decodeKallsyms, type KallsymsSource } from "./kallsyms-decode.ts";

/** First word of the file; its last digits change with the format. */
const magic = "kmendks2";
/** Magic, and five u32: symbols, bytes of text, hash buckets, CRC-32 of what follows the header, and one spare. */
const headerSize = 32;

/**
 * The kernel's symbols: from the cache when they were decoded before, else decoded and kept beside the unpacked image.
 * @param folder of the cache, of this image.
 */
export function loadKallsyms<Section extends SectionPlace>(image: KallsymsSource<Section>, folder: string): Kallsyms {
  const file = join(folder, "kallsyms.bin");
  const known = readCached(file);
  if (known !== undefined) return known;
  const kallsyms = decodeKallsyms(image);
  writeCached(file, folder, kallsyms.data);
  return kallsyms;
}

/** Layout of the file: header, addresses (f64), then offsets, next and heads (u32 each), then text. Byte order is that of the machine. */
function encode(data: KallsymsData): Buffer {
  const parts = [data.addresses, data.offsets, data.next, data.heads, data.text];
  const content = Buffer.concat(parts.map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength)));
  const header = new Uint8Array(headerSize);
  header.set(Buffer.from(magic, "latin1"));
  const numbers = [data.addresses.length, data.text.length, data.heads.length, crc32(content)];
  new Uint32Array(header.buffer, 8, numbers.length).set(numbers);
  return Buffer.concat([header, content]);
}

/** @returns undefined for a file of another format or length, and for a damaged one. */
function decode(file: Buffer): Kallsyms | undefined {
  if (file.length < headerSize || file.toString("latin1", 0, 8) !== magic) return undefined;
  const aligned = file.byteOffset % 8 === 0 ? file : Buffer.from(new Uint8Array(file).buffer);
  const { buffer, byteOffset } = aligned;
  const [count, textLength, buckets, sum] = new Uint32Array(buffer, byteOffset + 8, 4) as unknown as [
    number,
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
  if (crc32(file.subarray(headerSize)) !== sum) return undefined;
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

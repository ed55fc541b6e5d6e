import { bytesFrom, readSigned, type TargetObject } from "./target-object.ts";

/** Bytes. Names of files and types are shorter. */
const longestText = 256;
const mostDigits = 1_000_000;

/**
 * True when a piece of writable data holds nothing but what the undefined behaviour sanitizer reports with, and zeros: descriptions of types, and places in the source
 * with pointers to them. The compiler gives these no symbols (`.Lubsan_data1`), so that they seem to belong to the variable before them. Their layouts are those of
 * `struct type_descriptor` and `struct source_location` (lib/ubsan.h); a place is followed by members that depend on the handler.
 */
export function isReports(address: number, length: number, target: Pick<TargetObject, "bytesAt">): boolean {
  const bytes = target.bytesAt(address, length);
  if (bytes === undefined) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // Addresses of kernels are negative numbers.
  const first = Math.abs(address % 2);
  let found = 0;
  for (let at = first; at < length; ) {
    const size = typeAt(view, at) ?? ((address + at) % 8 === 0 ? placeAt(view, at, target) : undefined);
    if (size !== undefined) {
      if (found === 0 && !isPadding(at, address + at)) return false;
      found++;
    } else if (!isZero(bytes, at, Math.min(at + 2, length))) return false;
    at += size ?? 2;
  }
  return found > 0 && isZero(bytes, 0, first);
}

/** A linker pads by less than the alignment of what follows, which is a power of two that divides its address. */
export function isPadding(length: number, next: number): boolean {
  return next % 2 ** Math.ceil(Math.log2(length + 1)) === 0;
}

/** `u16 kind, u16 information, char name[]`; the name is in quotes. @returns bytes, an even number. */
function typeAt(view: DataView, at: number): number | undefined {
  if (at + 8 > view.byteLength || ![0, 1, 0xffff].includes(view.getUint16(at, true))) return undefined;
  if (view.getUint8(at + 4) !== 0x27) return undefined;
  const text = textIn(new Uint8Array(view.buffer, view.byteOffset + at + 4, view.byteLength - at - 4));
  return text !== undefined && /^'.+'$/.test(text) ? Math.ceil((text.length + 5) / 2) * 2 : undefined;
}

/** `const char *file, u32 line, u32 column`, then pointers to types, and small numbers. @returns bytes of the place itself. */
function placeAt(view: DataView, at: number, target: Pick<TargetObject, "bytesAt">): number | undefined {
  if (at + 16 > view.byteLength) return isPointerToType(view, at, target) ? 8 : undefined;
  const [line, column] = [view.getUint32(at + 8, true), view.getUint32(at + 12, true)];
  const file = bytesFrom(target, pointerAt(view, at), longestText);
  const isFile = file !== undefined && /^[\w.,+/-]+\.[chS]$/.test(textIn(file) ?? "");
  if (isFile && line > 0 && line < mostDigits && column > 0 && column < mostDigits) return 16;
  return isPointerToType(view, at, target) ? 8 : undefined;
}

function isPointerToType(view: DataView, at: number, target: Pick<TargetObject, "bytesAt">): boolean {
  if (at + 8 > view.byteLength) return false;
  const bytes = bytesFrom(target, pointerAt(view, at), longestText);
  return bytes !== undefined && typeAt(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0) !== undefined;
}

function pointerAt(view: DataView, at: number): number {
  return readSigned(new Uint8Array(view.buffer, view.byteOffset + at, 8));
}

/** Text up to a zero byte; undefined without one. */
function textIn(bytes: Uint8Array): string | undefined {
  const end = bytes.indexOf(0);
  return end < 0 ? undefined : Buffer.from(bytes.subarray(0, end)).toString("latin1");
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  return bytes.subarray(from, to).every((byte) => byte === 0);
}

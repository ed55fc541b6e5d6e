import { ElfFormatError } from "./format-error.ts";

/**
 * Bounds-checked reads of one byte order. 64-bit values come back as JS numbers: signed where they are addresses (so that kernel addresses of
 * the top half are small negative numbers), unsigned and below 2^53 where they are offsets and sizes.
 */
export class Bytes {
  readonly data: Uint8Array;
  readonly littleEndian: boolean;
  readonly #view: DataView;
  /** Offset of `data` in the file, for messages. */
  readonly #base: number;

  constructor(data: Uint8Array, littleEndian: boolean, base = 0) {
    this.data = data;
    this.littleEndian = littleEndian;
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.#base = base;
  }

  get length(): number {
    return this.data.length;
  }

  #check(offset: number, size: number): void {
    if (!(offset >= 0 && offset + size <= this.data.length)) {
      throw new ElfFormatError(`${size} bytes are needed here, beyond the end`, this.#base + offset, this.data.length);
    }
  }

  u8(offset: number): number {
    this.#check(offset, 1);
    return this.#view.getUint8(offset);
  }

  u16(offset: number): number {
    this.#check(offset, 2);
    return this.#view.getUint16(offset, this.littleEndian);
  }

  u32(offset: number): number {
    this.#check(offset, 4);
    return this.#view.getUint32(offset, this.littleEndian);
  }

  i32(offset: number): number {
    this.#check(offset, 4);
    return this.#view.getInt32(offset, this.littleEndian);
  }

  /** A signed 64-bit value; exact while its magnitude is at most 2^53. */
  i64(offset: number): number {
    this.#check(offset, 8);
    const low = this.#view.getUint32(this.littleEndian ? offset : offset + 4, this.littleEndian);
    const high = this.#view.getInt32(this.littleEndian ? offset + 4 : offset, this.littleEndian);
    return high * 0x1_0000_0000 + low;
  }

  /** An offset or size. @throws ElfFormatError when it is 2^53 or more, which no real file has. */
  size(offset: number): number {
    const value = this.i64(offset);
    if (!Number.isSafeInteger(value) || value < 0)
      throw new ElfFormatError("absurd 64-bit offset or size", this.#base + offset, value);
    return value;
  }
}

/** Writes a 64-bit value given as a (possibly negative) JS number, two's complement. */
export function putI64(view: DataView, offset: number, value: number, littleEndian: boolean): void {
  const high = Math.floor(value / 0x1_0000_0000);
  const low = value - high * 0x1_0000_0000;
  view.setUint32(littleEndian ? offset : offset + 4, low, littleEndian);
  view.setInt32(littleEndian ? offset + 4 : offset, high, littleEndian);
}

/** An address as the kernel prints it: `0x` and 16 hexadecimal digits. */
export function formatAddress(address: number): string {
  return `0x${BigInt.asUintN(64, BigInt(address)).toString(16).padStart(16, "0")}`;
}

/** Byte-wise equality. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

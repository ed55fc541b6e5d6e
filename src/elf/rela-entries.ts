import { RELA_SIZE } from "./constants.ts";

/** The entries of a SHT_RELA section where they lie in the file (gABI chapter 4, "Relocation"); nothing is made of those that nobody asks for. */
export class RelaEntries {
  readonly count: number;
  readonly #view: DataView;
  readonly #littleEndian: boolean;
  /** Offsets in an entry: of the low and the high half of a 64-bit number, and of the halves of r_info. */
  readonly #low: number;
  readonly #high: number;
  readonly #symbol: number;
  readonly #type: number;

  /** @param data whose length is a multiple of {@link RELA_SIZE}. */
  constructor(data: Uint8Array, littleEndian: boolean) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.#littleEndian = littleEndian;
    this.count = Math.floor(data.length / RELA_SIZE);
    this.#low = littleEndian ? 0 : 4;
    this.#high = 4 - this.#low;
    this.#symbol = littleEndian ? 12 : 8;
    this.#type = 20 - this.#symbol;
  }

  /** r_offset. */
  offset(number: number): number {
    return this.#i64(number * RELA_SIZE);
  }

  symbol(number: number): number {
    return this.#view.getUint32(number * RELA_SIZE + this.#symbol, this.#littleEndian);
  }

  type(number: number): number {
    return this.#view.getUint32(number * RELA_SIZE + this.#type, this.#littleEndian);
  }

  addend(number: number): number {
    return this.#i64(number * RELA_SIZE + 16);
  }

  /** Signed; exact while its magnitude is at most 2^53. */
  #i64(at: number): number {
    const low = this.#view.getUint32(at + this.#low, this.#littleEndian);
    return this.#view.getInt32(at + this.#high, this.#littleEndian) * 0x1_0000_0000 + low;
  }
}

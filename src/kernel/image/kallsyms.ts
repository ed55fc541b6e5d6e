/** The arrays behind {@link Kallsyms}: they are what the cache stores. */
export interface KallsymsData {
  /** Ascending as unsigned 64-bit values. */
  readonly addresses: Float64Array;
  /** Type letter and name of each symbol, one after the other. */
  readonly text: Uint8Array;
  /** Where each symbol's text begins, and the end of the last one: one entry more than symbols. */
  readonly offsets: Uint32Array;
  /** Hash table of names: first symbol of each bucket, plus one; its length is a power of two. */
  readonly heads: Uint32Array;
  /** Next symbol of the same bucket, plus one; in ascending order. */
  readonly next: Uint32Array;
}

/**
 * The kernel's own symbol table. Symbols are numbered in the order of the table, which is that of their addresses.
 *
 * Addresses are signed 64-bit values as JS numbers: those of the kernel's top 2 GiB are small negative numbers and exact. Order among them is that
 * of the unsigned values, so per-CPU offsets (from 0 up) come before kernel text (negative).
 */
export class Kallsyms {
  readonly data: KallsymsData;
  readonly #text: Buffer;

  constructor(data: KallsymsData) {
    this.data = data;
    this.#text = Buffer.from(data.text.buffer, data.text.byteOffset, data.text.byteLength);
  }

  /** Number of symbols. */
  get count(): number {
    return this.data.addresses.length;
  }

  addressOf(index: number): number {
    return this.data.addresses[this.#check(index)] as number;
  }

  nameOf(index: number): string {
    const { offsets } = this.data;
    return this.#text.toString("latin1", (offsets[this.#check(index)] as number) + 1, offsets[index + 1] as number);
  }

  /** A view of {@link nameOf}, for comparing many. */
  nameBytes(index: number): Buffer {
    const { offsets } = this.data;
    return this.#text.subarray((offsets[this.#check(index)] as number) + 1, offsets[index + 1] as number);
  }

  /** Letter as in nm(1): upper case for global symbols. */
  typeOf(index: number): string {
    return String.fromCharCode(this.#text[this.data.offsets[this.#check(index)] as number] as number);
  }

  /** All symbols of that name, in ascending order: the position in this list plus one is the kernel's `sympos` for vmlinux. */
  indicesOf(name: string): readonly number[] {
    const { heads, next, offsets } = this.data;
    const wanted = Buffer.from(name, "latin1");
    const found: number[] = [];
    let link = heads[hashName(wanted, 0, wanted.length) & (heads.length - 1)] as number;
    for (; link !== 0; link = next[link - 1] as number) {
      const start = (offsets[link - 1] as number) + 1;
      const end = offsets[link] as number;
      if (end - start === wanted.length && this.#text.compare(wanted, 0, wanted.length, start, end) === 0) {
        found.push(link - 1);
      }
    }
    return found;
  }

  /** All symbols with exactly that address, in ascending order. */
  symbolsAt(address: number): number[] {
    const found: number[] = [];
    for (let index = this.#firstNotBelow(address); this.data.addresses[index] === address; index++) found.push(index);
    return found;
  }

  /** Number of the first symbol whose address is greater; {@link count} when there is none. */
  firstAbove(address: number): number {
    let index = this.#firstNotBelow(address);
    while (this.data.addresses[index] === address) index++;
    return index;
  }

  /** The first of the symbols with the greatest address not above `address`; undefined below the first and above the last symbol. */
  containing(address: number): number | undefined {
    const { addresses } = this.data;
    const index = this.#firstNotBelow(address);
    if (index === addresses.length) return undefined;
    if (addresses[index] === address) return index;
    return index === 0 ? undefined : this.#firstNotBelow(addresses[index - 1] as number);
  }

  /** Bytes up to the next symbol with another address, as the kernel computes sizes; 0 for the last ones. */
  sizeOf(index: number): number {
    const { addresses } = this.data;
    const address = addresses[this.#check(index)] as number;
    for (let later = index + 1; later < addresses.length; later++) {
      const other = addresses[later] as number;
      if (other !== address) return other - address;
    }
    return 0;
  }

  #firstNotBelow(address: number): number {
    const { addresses } = this.data;
    let low = 0;
    let high = addresses.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareAddresses(addresses[middle] as number, address) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #check(index: number): number {
    if (!(index >= 0 && index < this.count)) throw new RangeError(`no symbol ${index} of ${this.count}`);
    return index;
  }
}

/** Order of two addresses as unsigned 64-bit values. */
export function compareAddresses(a: number, b: number): number {
  return a < 0 === b < 0 ? a - b : b - a;
}

/** FNV-1a, 32 bits. */
export function hashName(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

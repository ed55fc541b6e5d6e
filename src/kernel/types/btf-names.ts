/** Where names are: types of a module use strings of their own and strings of the kernel. */
export interface NameStrings {
  readonly own: Buffer;
  /** Offset of the first own string. */
  readonly first: number;
  readonly base: Buffer | undefined;
}

/** Finds types by name: a hash table with chains in typed arrays, made in one pass over the names. */
export class NameIndex {
  readonly #strings: NameStrings;
  readonly #first: number;
  readonly #offsets: Uint32Array;
  readonly #heads: Int32Array;
  readonly #next: Int32Array;

  /** @param first number of the first type; `offsets` has that of each type's name, 0 for those without one. */
  constructor(first: number, offsets: Uint32Array, strings: NameStrings) {
    this.#strings = strings;
    this.#first = first;
    this.#offsets = offsets;
    this.#heads = new Int32Array(1 << Math.max(4, Math.ceil(Math.log2(offsets.length + 1)))).fill(-1);
    this.#next = new Int32Array(offsets.length);
    for (let index = offsets.length - 1; index >= 0; index--) {
      const offset = offsets[index] as number;
      if (offset === 0) continue;
      const { bytes, start } = this.#placeOf(offset);
      const bucket = this.#bucket(bytes, start);
      this.#next[index] = this.#heads[bucket] as number;
      this.#heads[bucket] = index;
    }
  }

  /** Type numbers in ascending order. */
  find(name: string): number[] {
    const wanted = Buffer.from(`${name}\0`, "utf8");
    const types: number[] = [];
    let index = this.#heads[this.#bucket(wanted, 0)] as number;
    for (; index >= 0; index = this.#next[index] as number) {
      const { bytes, start } = this.#placeOf(this.#offsets[index] as number);
      if (wanted.compare(bytes, start, Math.min(start + wanted.length, bytes.length)) === 0)
        types.push(this.#first + index);
    }
    return types;
  }

  #placeOf(offset: number): { readonly bytes: Buffer; readonly start: number } {
    const { own, first, base } = this.#strings;
    return offset < first && base !== undefined
      ? { bytes: base, start: offset }
      : { bytes: own, start: offset - first };
  }

  /** FNV-1a over the bytes up to the zero. */
  #bucket(bytes: Buffer, start: number): number {
    let hash = 0x811c9dc5;
    for (let at = start; at < bytes.length && bytes[at] !== 0; at++) {
      hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
    }
    return (hash ^ (hash >>> 15)) & (this.#heads.length - 1);
  }
}

/** A source of numbers that gives the same ones for the same seed (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 below `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }
}

/** Values that parsers stumble over: ends of ranges, signs, sizes beyond every file. */
const interesting: readonly bigint[] = [
  0n,
  1n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0xffffn,
  0x7fffffffn,
  0xffffffffn,
  1n << 40n,
];
const greatest = (1n << 64n) - 1n;

/** A damaged copy: one to six places with other bytes or numbers, copied, removed, repeated or cut off. */
export function mutate(seed: Uint8Array, random: Random): Buffer {
  let data = Buffer.from(seed);
  for (let count = 1 + random.below(6); count > 0 && data.length > 8; count--) {
    const at = random.below(data.length - 8);
    switch (random.below(8)) {
      case 0:
        data[at] = (data[at] as number) ^ (1 << random.below(8));
        break;
      case 1:
        data[at] = random.below(256);
        break;
      case 2:
      case 3: {
        const value = random.below(5) === 0 ? greatest : (interesting[random.below(interesting.length)] as bigint);
        const width = [1, 2, 4, 8][random.below(4)] as number;
        for (let byte = 0; byte < width; byte++) data[at + byte] = Number((value >> BigInt(8 * byte)) & 0xffn);
        break;
      }
      case 4: {
        const from = random.below(data.length - 8);
        data.copy(data, at, from, from + 1 + random.below(64));
        break;
      }
      case 5:
        data = Buffer.concat([data.subarray(0, at), data.subarray(at + 1 + random.below(64))]);
        break;
      case 6: {
        const piece = data.subarray(at, at + 1 + random.below(64));
        data = Buffer.concat([
          data.subarray(0, at),
          ...Array.from({ length: 1 + random.below(20) }, () => piece),
          data.subarray(at),
        ]);
        break;
      }
      default:
        if (random.below(8) === 0) data = data.subarray(0, at);
    }
  }
  return data;
}

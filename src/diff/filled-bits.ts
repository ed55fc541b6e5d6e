import type { Atom } from "./atoms.ts";

/** For each byte that both have, the bits that relocations and resolved branches fill, whatever the objects hold there. */
export function filledBits(a: Atom, b: Atom, maskOf: (type: number) => Uint8Array | undefined): Uint8Array {
  const filled = new Uint8Array(Math.min(a.bytes.length, b.bytes.length));
  for (const { references } of [a, b]) {
    for (const { offset, type } of references) {
      const mask = maskOf(type);
      if (mask === undefined) continue;
      for (let at = 0; at < mask.length && offset + at < filled.length; at++)
        filled[offset + at] = (filled[offset + at] as number) | (mask[at] as number);
    }
  }
  return filled;
}

/** Offset of the first byte with a difference outside of what is filled; the length of `filled` when there is none. */
export function firstDifference(a: Uint8Array, b: Uint8Array, filled: Uint8Array): number {
  let at = 0;
  while (at < filled.length && (((a[at] as number) ^ (b[at] as number)) & ~(filled[at] as number)) === 0) at++;
  return at;
}

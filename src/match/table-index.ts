import type { TableRule } from "../diff/special-sections/special-sections.ts";

/** Entries of a table by the places in the code that they are about. */
export class TableIndex {
  readonly #places: Float64Array;
  /** Number of the entry with the place of the same index; undefined where the table is in the order of its places. */
  readonly #order: Uint32Array | undefined;

  /** @param places by number of the entry; NaN for one without a place. */
  constructor(places: Float64Array) {
    if (isAscending(places)) {
      this.#places = places;
      return;
    }
    this.#order = sortedKeys(places) ?? sortedNumbers(places);
    this.#places =
      this.#order === undefined ? places : Float64Array.from(this.#order, (number) => rankOf(places, number));
  }

  /** Numbers of the entries with places in [from, to), in the order of the places and then of the table. */
  within(from: number, to: number): { readonly number: number; readonly place: number }[] {
    const found: { number: number; place: number }[] = [];
    for (let at = this.#firstNotBelow(from); at < this.#places.length; at++) {
      const place = this.#places[at] as number;
      if (place >= to) break;
      found.push({ number: this.#order?.[at] ?? at, place });
    }
    return found;
  }

  /** The entry with the greatest place that is not above. */
  lastUpTo(place: number): { readonly number: number; readonly place: number } | undefined {
    let at = this.#firstNotBelow(place);
    if (this.#places[at] !== place) at--;
    const found = this.#places[at];
    return found === undefined ? undefined : { number: this.#order?.[at] ?? at, place: found };
  }

  #firstNotBelow(place: number): number {
    let low = 0;
    let high = this.#places.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#places[middle] as number) < place) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function rankOf(places: Float64Array, number: number): number {
  const place = places[number] as number;
  return Number.isNaN(place) ? Number.POSITIVE_INFINITY : place;
}

/** Numbers of the entries in the order of their places. */
function sortedNumbers(places: Float64Array): Uint32Array {
  const order = Uint32Array.from(places, (_, number) => number);
  return order.sort((a, b) => {
    const [x, y] = [rankOf(places, a), rankOf(places, b)];
    return x === y ? a - b : x < y ? -1 : 1;
  });
}

/** The same where place and number fit into one double together, which the engine sorts without asking; undefined where they do not. */
function sortedKeys(places: Float64Array): Uint32Array | undefined {
  let [least, greatest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const place of places) {
    if (Number.isNaN(place)) return undefined;
    if (place < least) least = place;
    if (place > greatest) greatest = place;
  }
  const stride = places.length;
  if ((greatest - least + 1) * stride > Number.MAX_SAFE_INTEGER) return undefined;
  const keys = places.map((place, number) => (place - least) * stride + number).sort();
  return Uint32Array.from(keys, (key) => key % stride);
}

function isAscending(places: Float64Array): boolean {
  for (let at = 0; at < places.length; at++) {
    if (at === 0 ? Number.isNaN(places[0]) : !((places[at] as number) >= (places[at - 1] as number))) return false;
  }
  return true;
}

/**
 * Bytes of an entry of a table.
 * @param bytes of the whole table.
 * @param known what the unit or the target's types say.
 */
export function entrySize(bytes: Uint8Array, known: number | undefined, rule: TableRule): number | undefined {
  if (known !== undefined && known > 0) return bytes.length % known === 0 ? known : undefined;
  return rule.sizes.find((size) => bytes.length % size === 0 && isPlausible(bytes, size, rule));
}

/** How many entries are looked at. */
const sample = 64;

/** A replacement is never longer than the code that it replaces, whose length stands before its own. */
function isPlausible(bytes: Uint8Array, size: number, { replacementLength }: TableRule): boolean {
  if (replacementLength === undefined) return true;
  const end = Math.min(bytes.length, sample * size);
  for (let at = replacementLength(size); at < end; at += size)
    if ((bytes[at - 1] as number) === 0 || (bytes[at - 1] as number) < (bytes[at] as number)) return false;
  return true;
}

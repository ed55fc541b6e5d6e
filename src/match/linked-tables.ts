import { runtimeTableRule, type TableRule } from "../diff/special-sections/special-sections.ts";
import { entrySize, TableIndex } from "./table-index.ts";
import { readSigned, type TargetEntry } from "./target-object.ts";

/** What is asked of a linked image. */
export interface LinkedImage {
  addressOf(symbol: string): number | undefined;
  readonly sections: readonly { readonly name: string; readonly address: number; readonly size: number }[];
  bytesAt(address: number, length: number): Uint8Array | undefined;
}

interface LinkedTable {
  readonly start: number;
  readonly size: number;
  readonly index: TableIndex;
  readonly partner?: { readonly start: number; readonly size: number } | undefined;
}

/**
 * The tables of a linked image, each read when it is first asked for. Some are in the order of their places, since the kernel's build sorts them
 * (scripts/sorttable.c); others are not.
 */
export class LinkedTables {
  readonly #image: LinkedImage;
  readonly #tables = new Map<string, LinkedTable | undefined>();
  #runtime: readonly string[] | undefined;

  constructor(image: LinkedImage) {
    this.#image = image;
  }

  /** Entries about places in [from, to); undefined when its table has another layout. */
  entries(rule: TableRule, size: number | undefined, from: number, to: number): readonly TargetEntry[] | undefined {
    const key = `${rule.table} ${size ?? ""}`;
    if (!this.#tables.has(key)) this.#tables.set(key, this.#read(rule, size));
    const table = this.#tables.get(key);
    return table?.index.within(from, to).map(({ number, place }) => ({
      at: table.start + number * table.size,
      size: table.size,
      place,
      partner:
        table.partner === undefined
          ? undefined
          : { at: table.partner.start + number * table.partner.size, size: table.partner.size },
    }));
  }

  get runtimeTables(): readonly string[] {
    this.#runtime ??= this.#image.sections.flatMap(({ name }) => (runtimeTableRule(name) === undefined ? [] : [name]));
    return this.#runtime;
  }

  #read(rule: TableRule, known: number | undefined): LinkedTable | undefined {
    const range = this.#rangeOf(rule);
    // A kernel that has no such entries has neither the symbols nor the section; CONFIG_LIVEPATCH depends on the names of data (CONFIG_KALLSYMS_ALL).
    if (range === undefined || range.length === 0)
      return { start: 0, size: 0, index: new TableIndex(new Float64Array(0)) };
    const bytes = this.#image.bytesAt(range.start, range.length);
    const size = bytes === undefined ? undefined : entrySize(bytes, known, rule);
    if (size === undefined || bytes === undefined) return undefined;
    const { width, isRelative } = rule.place;
    const places = new Float64Array(range.length / size);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let number = 0; number < places.length; number++) {
      const at = number * size;
      const value = width === 4 ? view.getInt32(at, true) : readSigned(bytes.subarray(at, at + 8));
      places[number] = isRelative ? range.start + at + value : value;
    }
    const partner = rule.partner === undefined ? undefined : this.#rangeOf(rule.partner);
    return {
      start: range.start,
      size,
      index: new TableIndex(places),
      partner: partner === undefined ? undefined : { start: partner.start, size: partner.length / places.length },
    };
  }

  #rangeOf({
    table,
    bounds: [first, last],
  }: Pick<TableRule, "table" | "bounds">): { start: number; length: number } | undefined {
    const start = this.#image.addressOf(first);
    const end = this.#image.addressOf(last);
    if (start !== undefined && end !== undefined && end >= start) return { start, length: end - start };
    const section = this.#image.sections.find(({ name }) => name === table);
    return section === undefined ? undefined : { start: section.address, length: section.size };
  }
}

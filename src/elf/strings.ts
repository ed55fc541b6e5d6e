import { ElfFormatError } from "./format-error.ts";

/**
 * How many times its size all strings of a table may have together. Linkers let a string be the tail of another one; a table that is one long string with
 * a name at each of its bytes would take gigabytes.
 */
const overlapLimit = 64;

/** A string table section (gABI chapter 4, "String Table"); strings are decoded once each. */
export class StringTable {
  readonly #data: Uint8Array;
  readonly #base: number;
  readonly #known = new Map<number, string>();
  /** All of it: to look for a zero in a text is quicker than to ask a buffer for it. */
  #text: string | undefined;
  #decoded = 0;

  /** @param base offset of the table in the file, for messages. */
  constructor(data: Uint8Array, base: number) {
    this.#data = data;
    this.#base = base;
  }

  at(offset: number): string {
    const known = this.#known.get(offset);
    if (known !== undefined) return known;
    if (offset >= this.#data.length) {
      if (offset === 0) return "";
      throw new ElfFormatError("string offset beyond its table", this.#base, offset);
    }
    this.#text ??= Buffer.from(this.#data.buffer, this.#data.byteOffset, this.#data.byteLength).toString("latin1");
    const end = this.#text.indexOf("\0", offset);
    if (end < 0) throw new ElfFormatError("string without an end", this.#base + offset);
    this.#decoded += end - offset;
    if (this.#decoded > overlapLimit * this.#data.length)
      throw new ElfFormatError("strings overlap without end", this.#base + offset, this.#decoded);
    const text = this.#text.slice(offset, end);
    this.#known.set(offset, text);
    return text;
  }
}

/** Collects strings for a table; equal strings share one place. */
export class StringTableBuilder {
  readonly #offsets = new Map<string, number>([["", 0]]);
  readonly #parts: Buffer[] = [Buffer.from([0])];
  #length = 1;

  /** Starts with the bytes of an existing table, whose offsets stay valid. */
  static from(existing: Uint8Array): StringTableBuilder {
    const builder = new StringTableBuilder();
    if (existing.length > 0) {
      builder.#parts[0] = Buffer.from(existing);
      builder.#length = existing.length;
    }
    return builder;
  }

  add(text: string): number {
    const known = this.#offsets.get(text);
    if (known !== undefined) return known;
    const offset = this.#length;
    const bytes = Buffer.from(`${text}\0`, "latin1");
    this.#parts.push(bytes);
    this.#length += bytes.length;
    this.#offsets.set(text, offset);
    return offset;
  }

  finish(): Uint8Array {
    return Buffer.concat(this.#parts);
  }
}

import { BtfFormatError, BtfKind } from "./btf-format.ts";
import { NameIndex } from "./btf-names.ts";
import { readHeader, readPlaces } from "./btf-sections.ts";

/** A member of a struct or union. */
export interface BtfMember {
  /** Empty for an unnamed struct or union. */
  readonly name: string;
  readonly type: number;
  /** Bits from the start of the struct. */
  readonly offset: number;
  /** Bits of a bit field, 0 for an ordinary member. */
  readonly width: number;
}

export interface BtfEnumerator {
  readonly name: string;
  readonly value: bigint;
}

export interface BtfParameter {
  readonly name: string;
  /** 0 without a name: the `...` at the end. */
  readonly type: number;
}

/** What a type's number may stand for when nothing more than its kind's own words are needed. */
export interface BtfInt {
  /** Bits; fewer than the size says for a bit field of old encoders. */
  readonly bits: number;
  /** Bits from the start, for such a bit field. */
  readonly offset: number;
  /** Bits of `IntEncoding`. */
  readonly encoding: number;
}

/** How many typedefs, qualifiers and tags may follow each other; real ones are below ten. */
const longestChain = 100;

/**
 * The types of a kernel, a module or a compiled unit in the BPF type format (Documentation/bpf/btf.rst). Only the places of the types are noted when it
 * is opened; everything else is read when it is asked for. Type 0 is `void`.
 *
 * Types of a module stand on those of vmlinux (its `base`): their numbers and string offsets go on where those of the base end.
 */
export class Btf {
  /** One more than the greatest type number. */
  readonly count: number;
  /** What it was read from, for messages. */
  readonly source: string;
  readonly base: Btf | undefined;
  readonly #first: number;
  /** Offsets of the types in the data. */
  readonly #places: Uint32Array;
  readonly #view: DataView;
  readonly #littleEndian: boolean;
  readonly #strings: Buffer;
  readonly #stringsOffset: number;
  readonly #firstString: number;
  readonly #texts = new Map<number, string>();
  #names: NameIndex | undefined;

  /** @throws BtfFormatError (code `BTF_FORMAT`) with the offset of the first thing that is wrong. */
  constructor(data: Uint8Array, source: string, base?: Btf) {
    this.source = source;
    this.base = base;
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const header = readHeader(this.#view, source);
    this.#littleEndian = header.littleEndian;
    this.#stringsOffset = header.strings;
    this.#strings = Buffer.from(data.buffer, data.byteOffset + header.strings, header.stringsSize);
    this.#firstString = base === undefined ? 0 : base.stringEnd;
    this.#first = base === undefined ? 1 : base.count;
    this.#places = readPlaces(this.#view, header, source);
    this.count = this.#first + this.#places.length;
  }

  /** Offset behind the last string, where those of a module begin. */
  get stringEnd(): number {
    return this.#firstString + this.#strings.length;
  }

  /** Number of the first type that is not the base's. */
  get first(): number {
    return this.#first;
  }

  kind(type: number): BtfKind {
    if (type === 0) return BtfKind.void;
    if (type < this.#first && this.base !== undefined) return this.base.kind(type);
    return ((this.#info(type) >>> 24) & 0x1f) as BtfKind;
  }

  /** The type's own name; empty for those without one. */
  name(type: number): string {
    if (type === 0) return "void";
    if (type < this.#first && this.base !== undefined) return this.base.name(type);
    return this.#text(this.#u32(this.#place(type)), this.#place(type));
  }

  /** Entries of a struct, union, enum, prototype or section; the linkage of a function. */
  entryCount(type: number): number {
    return this.#in(type, (btf) => btf.#info(type) & 0xffff);
  }

  /** The flag of the type's info word: a union for `fwd`, signed values for an enum. */
  flag(type: number): boolean {
    return this.#in(type, (btf) => btf.#info(type) >>> 31 === 1);
  }

  /** Bytes, as far as the kind says so itself: int, float, struct, union, enum, section. */
  size(type: number): number {
    return this.#in(type, (btf) => btf.#u32(btf.#place(type) + 8));
  }

  /** The type that a pointer, typedef, qualifier, tag, function or variable refers to, or that a prototype returns. */
  target(type: number): number {
    return this.#in(type, (btf) => btf.#checked(btf.#u32(btf.#place(type) + 8), btf.#place(type) + 8));
  }

  int(type: number): BtfInt {
    return this.#in(type, (btf) => {
      const word = btf.#u32(btf.#place(type) + 12);
      return { bits: word & 0xff, offset: (word >>> 16) & 0xff, encoding: (word >>> 24) & 0xf };
    });
  }

  array(type: number): { readonly element: number; readonly length: number } {
    return this.#in(type, (btf) => {
      const at = btf.#place(type) + 12;
      return { element: btf.#checked(btf.#u32(at), at), length: btf.#u32(at + 8) };
    });
  }

  members(type: number): readonly BtfMember[] {
    return this.#in(type, (btf) => {
      const flagged = btf.flag(type);
      return btf.#entries(type, 12, (at) => {
        const place = btf.#u32(at + 8);
        const name = btf.#text(btf.#u32(at), at);
        const target = btf.#checked(btf.#u32(at + 4), at + 4);
        if (flagged) return { name, type: target, offset: place & 0xff_ffff, width: place >>> 24 };
        const old = btf.#oldBitField(target);
        return { name, type: target, offset: place + old.offset, width: old.width };
      });
    });
  }

  /** Values are signed where the enum says so, and 32 bits wide unless its kind is `enum64`. */
  enumerators(type: number): readonly BtfEnumerator[] {
    return this.#in(type, (btf) => {
      const signed = btf.flag(type);
      const wide = btf.kind(type) === BtfKind.enum64;
      return btf.#entries(type, wide ? 12 : 8, (at) => {
        const bits = BigInt(btf.#u32(at + 4)) + (wide ? BigInt(btf.#u32(at + 8)) << 32n : 0n);
        const value = signed ? BigInt.asIntN(wide ? 64 : 32, bits) : bits;
        return { name: btf.#text(btf.#u32(at), at), value };
      });
    });
  }

  parameters(type: number): readonly BtfParameter[] {
    return this.#in(type, (btf) =>
      btf.#entries(type, 8, (at) => ({
        name: btf.#text(btf.#u32(at), at),
        type: btf.#checked(btf.#u32(at + 4), at + 4),
      })),
    );
  }

  /**
   * What is left of a type without typedefs, qualifiers and tags.
   * @throws BtfFormatError when they lead in a circle.
   */
  resolve(type: number): number {
    let current = type;
    for (let step = 0; step < longestChain; step++) {
      if (!transparentKinds.has(this.kind(current))) return current;
      current = this.target(current);
    }
    throw new BtfFormatError("typedefs or qualifiers in a circle", this.source, 0, type);
  }

  /** All types of a kind with that name, those of the base first. */
  find(kind: BtfKind, name: string): readonly number[] {
    const own = this.#index()
      .find(name)
      .filter((type) => this.kind(type) === kind);
    return this.base === undefined ? own : [...this.base.find(kind, name), ...own];
  }

  #index(): NameIndex {
    this.#names ??= new NameIndex(this.#first, this.#nameOffsets(), {
      own: this.#strings,
      first: this.#firstString,
      base: this.base === undefined ? undefined : this.base.#strings,
    });
    return this.#names;
  }

  #nameOffsets(): Uint32Array {
    const offsets = new Uint32Array(this.#places.length);
    for (let index = 0; index < offsets.length; index++) {
      const at = this.#places[index] as number;
      const offset = this.#u32(at);
      if (offset >= this.stringEnd) this.#text(offset, at);
      offsets[index] = offset;
    }
    return offsets;
  }

  /** Before the flag existed, the width of a bit field was that of its int type. */
  #oldBitField(type: number): { readonly offset: number; readonly width: number } {
    const resolved = this.resolve(type);
    if (this.kind(resolved) !== BtfKind.int) return { offset: 0, width: 0 };
    const { bits, offset } = this.int(resolved);
    return { offset, width: bits === this.size(resolved) * 8 ? 0 : bits };
  }

  #in<Value>(type: number, read: (btf: Btf) => Value): Value {
    if (type < this.#first && this.base !== undefined) return this.base.#in(type, read);
    return read(this);
  }

  #entries<Entry>(type: number, size: number, read: (at: number) => Entry): Entry[] {
    const start = this.#place(type) + 12;
    return Array.from({ length: this.#info(type) & 0xffff }, (_, index) => read(start + index * size));
  }

  #info(type: number): number {
    return this.#u32(this.#place(type) + 4);
  }

  #u32(at: number): number {
    if (at + 4 > this.#view.byteLength) throw new BtfFormatError("a type runs beyond the end", this.source, at);
    return this.#view.getUint32(at, this.#littleEndian);
  }

  #place(type: number): number {
    const place = this.#places[type - this.#first];
    if (place === undefined)
      throw new BtfFormatError("a type that does not exist is referred to", this.source, 0, type);
    return place;
  }

  #checked(type: number, at: number): number {
    if (type < this.count) return type;
    throw new BtfFormatError("a type that does not exist is referred to", this.source, at, type);
  }

  #text(offset: number, at: number): string {
    if (offset < this.#firstString && this.base !== undefined) return this.base.#text(offset, at);
    const known = this.#texts.get(offset);
    if (known !== undefined) return known;
    const start = offset - this.#firstString;
    if (start === 0 && this.#strings.length === 0) return "";
    const end = start < this.#strings.length ? this.#strings.indexOf(0, start) : -1;
    if (end < 0) {
      const where = start < this.#strings.length ? this.#stringsOffset + start : at;
      throw new BtfFormatError("a name without an end, or beyond the strings", this.source, where, offset);
    }
    const text = this.#strings.toString("utf8", start, end);
    this.#texts.set(offset, text);
    return text;
  }
}

const transparentKinds: ReadonlySet<number> = new Set([
  BtfKind.typedef,
  BtfKind.const,
  BtfKind.volatile,
  BtfKind.restrict,
  BtfKind.typeTag,
]);

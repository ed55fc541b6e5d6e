import { Bytes } from "../../elf/bytes.ts";

/**
 * Where the kernel keeps its symbol table, as scripts/kallsyms.c writes it. All offsets are in bytes from the start of `bytes`.
 *
 * | Linux | order of the tables |
 * |---|---|
 * | 4.4–6.1 | addresses or (offsets, base), count, names, markers, token table, token index |
 * | 6.2–6.3 and newer 6.1 | the same with seqs_of_names after the markers |
 * | 6.4 and later | count, names, markers, token table, token index, addresses or (offsets, base), seqs_of_names |
 * | 7.0 and later | the same with offsets from the place of each entry, without a base, and tables aligned to 4 bytes |
 */
export interface NameTables {
  readonly bytes: Bytes;
  readonly count: number;
  /** Where `kallsyms_num_syms` is; older layouts end their addresses here. */
  readonly countOffset: number;
  /** Per symbol a length (one byte, or two with bit 7 of the first set: since 6.1) and as many token numbers. */
  readonly names: number;
  /** Where `kallsyms_seqs_of_names` is, when it is before the tokens. */
  readonly sequences: number | undefined;
  readonly tokenTable: number;
  /** 256 u16 offsets into the token table. */
  readonly tokenIndex: number;
}

const tokenCount = 256;
const tokenIndexSize = 2 * tokenCount;
/** Where tables begin: on 8-byte boundaries on 64-bit machines, since 7.0 on 4-byte ones (scripts/kallsyms.c, `output_label`). */
const tableAlignments = [8, 4] as const;
/** A marker is kept for every 256th name. */
const markerInterval = 256;
/** No kernel has fewer symbols than one marker interval, and none has this many. */
const maxCount = 1 << 23;
/** Longest name that scripts/kallsyms.c has allowed (KSYM_NAME_LEN is 512 since 6.1). */
const longestToken = 512;

function align(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}

/**
 * Finds the name tables in the content of a section, without symbols: first a token index that fits the token table before it, then a symbol
 * count whose names and markers fit in front of that.
 * @returns the tables, `"damaged"` when only the tokens are there, or undefined.
 */
export function findNameTables(section: Uint8Array, littleEndian: boolean): NameTables | "damaged" | undefined {
  const bytes = new Bytes(section, littleEndian);
  const view = new DataView(section.buffer, section.byteOffset, section.byteLength);
  let damaged = false;
  for (let at = 0; at + tokenIndexSize <= section.length; at += 4) {
    if (view.getUint16(at, littleEndian) !== 0 || view.getUint16(at + 2, littleEndian) === 0) continue;
    const tokenTable = tokenTableBefore(section, view, at, littleEndian);
    if (tokenTable === undefined) continue;
    const found = findNames(bytes, view, tokenTable);
    if (found !== undefined) return { bytes, ...found, tokenTable, tokenIndex: at };
    damaged = true;
  }
  return damaged ? "damaged" : undefined;
}

/** Start of the token table that ends right before the index at `at`, when `at` is one. */
function tokenTableBefore(section: Uint8Array, view: DataView, at: number, littleEndian: boolean): number | undefined {
  const index = new Uint16Array(tokenCount);
  for (let token = 1; token < tokenCount; token++) {
    const offset = view.getUint16(at + 2 * token, littleEndian);
    const previous = index[token - 1] as number;
    if (offset <= previous || offset > previous + longestToken) return undefined;
    index[token] = offset;
  }
  const last = index[tokenCount - 1] as number;
  for (let length = 0; length < longestToken; length++) {
    for (let padding = 0; padding < 8; padding++) {
      const start = at - padding - 1 - length - last;
      if (start >= 0 && start % 4 === 0 && tokensFit(section, start, index, at - padding)) return start;
    }
  }
  return undefined;
}

/** True when every token of the index ends with a NUL and holds none, and only padding follows. */
function tokensFit(section: Uint8Array, start: number, index: Uint16Array, end: number): boolean {
  let expected = 0;
  for (let token = 0; token < tokenCount; token++) {
    if (index[token] !== expected) return false;
    let at = start + expected;
    while (at < end && section[at] !== 0) at++;
    if (at >= end) return false;
    expected = at + 1 - start;
  }
  return start + expected === end;
}

function findNames(
  bytes: Bytes,
  view: DataView,
  tokenTable: number,
): Pick<NameTables, "count" | "countOffset" | "names" | "sequences"> | undefined {
  const { littleEndian } = bytes;
  for (let at = tokenTable - 8; at >= 0; at -= 4) {
    const count = view.getUint32(at, littleEndian);
    if (count <= markerInterval || count > maxCount || at + 2 * count > tokenTable) continue;
    const markers = Math.ceil(count / markerInterval);
    for (const alignment of tableAlignments) {
      const names = align(at + 4, alignment);
      const sequences = tokenTable - align(3 * count, alignment);
      for (const markersEnd of [tokenTable, sequences]) {
        for (const size of [4, 8]) {
          const start = markersEnd - align(markers * size, alignment);
          if (start <= names || !looksLikeMarkers(view, start, size, littleEndian)) continue;
          if (!namesFit(bytes, names, count, { start, size, alignment })) continue;
          return { count, countOffset: at, names, sequences: markersEnd === sequences ? sequences : undefined };
        }
      }
    }
  }
  return undefined;
}

function looksLikeMarkers(view: DataView, start: number, size: number, littleEndian: boolean): boolean {
  const second = view.getUint32(start + size, littleEndian);
  return view.getUint32(start, littleEndian) === 0 && second >= 2 * markerInterval && second <= 600 * markerInterval;
}

interface MarkerTable {
  readonly start: number;
  /** Bytes of a marker. */
  readonly size: number;
  readonly alignment: number;
}

/** Walks all names: every 256th must be where its marker says, and the markers must follow the last one, with nothing but padding between. */
function namesFit(bytes: Bytes, names: number, count: number, { start, size, alignment }: MarkerTable): boolean {
  const { data } = bytes;
  let at = names;
  for (let index = 0; index < count; index++) {
    if (index % markerInterval === 0) {
      const marker = start + (index / markerInterval) * size;
      if ((size === 4 ? bytes.u32(marker) : bytes.i64(marker)) !== at - names) return false;
    }
    const length = nameLength(data, at);
    if (length === 0) return false;
    at += length + (length > 0x7f ? 2 : 1);
    if (at > start) return false;
  }
  return align(at, alignment) === start && data.subarray(at, start).every((byte) => byte === 0);
}

/** Number of tokens of the name at `at`. */
export function nameLength(data: Uint8Array, at: number): number {
  const first = data[at] as number;
  return first < 0x80 ? first : (first & 0x7f) | ((data[at + 1] as number) << 7);
}

/** The 256 tokens as bytes. */
export function readTokens(tables: NameTables): Uint8Array[] {
  const { data } = tables.bytes;
  return Array.from({ length: tokenCount }, (_, token) => {
    const start = tables.tokenTable + tables.bytes.u16(tables.tokenIndex + 2 * token);
    return data.subarray(start, data.indexOf(0, start));
  });
}

/**
 * The first token that scripts/kallsyms.c cannot have made: each one of several characters is two others put together, and a single character is in the
 * place of its own number.
 * @param tokens as {@link readTokens} gives them.
 */
export function impossibleToken(tokens: readonly Uint8Array[]): string | undefined {
  const texts = tokens.map((token) => Buffer.from(token).toString("latin1"));
  const known = new Set(texts);
  return texts.find((text, token) => {
    if (text.length < 2) return text.length === 1 && text.charCodeAt(0) !== token;
    for (let end = 1; end < text.length; end++) {
      if (known.has(text.slice(0, end)) && known.has(text.slice(end))) return false;
    }
    return true;
  });
}

/** How the entries of an address table give addresses. */
export type AddressEncoding = "absolute" | "from a base" | "from their place";

/** One way to read the addresses; which one is right shows when all of them are decoded. */
export interface AddressTable {
  readonly place: "before the names" | "after the names";
  readonly encoding: AddressEncoding;
  /** Offset of the first entry; entries have 8 bytes when absolute, else 4. */
  readonly start: number;
  /** Offset of `kallsyms_relative_base`, for offsets from a base. */
  readonly base: number;
  /** Behind the last entry, and the base. */
  readonly end: number;
}

/** The places where the addresses can be; those outside the section are left out. */
export function addressTables(tables: NameTables): AddressTable[] {
  const { count, bytes } = tables;
  const before = Math.floor(tables.countOffset / 8) * 8;
  const after = align(tables.tokenIndex + tokenIndexSize, 8);
  const offsets = align(4 * count, 8);
  const candidates: readonly Omit<AddressTable, "end">[] = [
    { place: "after the names", encoding: "from a base", start: after, base: after + offsets },
    { place: "before the names", encoding: "from a base", start: before - 8 - offsets, base: before - 8 },
    { place: "before the names", encoding: "absolute", start: before - 8 * count, base: 0 },
    { place: "after the names", encoding: "absolute", start: after, base: 0 },
    // Came together with the alignment of 4.
    { place: "after the names", encoding: "from their place", start: tables.tokenIndex + tokenIndexSize, base: 0 },
  ];
  return candidates
    .map((candidate) => ({ ...candidate, end: endOf(candidate, count) }))
    .filter(({ start, end }) => start >= 0 && end <= bytes.length);
}

function endOf({ start, encoding, base }: Omit<AddressTable, "end">, count: number): number {
  return encoding === "from a base" ? base + 8 : start + count * (encoding === "absolute" ? 8 : 4);
}

/** The numbers of the symbols in the order of their names, three bytes each; undefined where this layout has none. */
export function sequencesOf(tables: NameTables, { place, end }: AddressTable): Uint8Array | undefined {
  const start = place === "after the names" ? end : tables.sequences;
  return start === undefined ? undefined : tables.bytes.data.subarray(start, start + 3 * tables.count);
}

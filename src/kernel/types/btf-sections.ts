import { BtfFormatError, btfMagic, tailSizes } from "./btf-format.ts";

/** Where the parts of BTF are, as offsets in the data. */
export interface BtfHeader {
  readonly littleEndian: boolean;
  /** Start and end of the type section in the data. */
  readonly types: number;
  readonly typesEnd: number;
  readonly strings: number;
  readonly stringsSize: number;
}

/** struct btf_header: magic, version, flags, header length, then offset and length of types and strings, counted from behind the header. @throws BtfFormatError. */
export function readHeader(view: DataView, source: string): BtfHeader {
  if (view.byteLength < 24) throw new BtfFormatError("too short for a header", source, 0, view.byteLength);
  const littleEndian = view.getUint16(0, true) === btfMagic;
  if (!littleEndian && view.getUint16(0, false) !== btfMagic) {
    throw new BtfFormatError("no BTF magic at the start", source, 0, view.getUint16(0, true));
  }
  if (view.getUint8(2) !== 1) throw new BtfFormatError("unknown version", source, 2, view.getUint8(2));
  const u32 = (at: number): number => view.getUint32(at, littleEndian);
  const start = u32(4);
  const [types, strings] = [start + u32(8), start + u32(16)];
  const header = { littleEndian, types, typesEnd: types + u32(12), strings, stringsSize: u32(20) };
  if (start < 24) throw new BtfFormatError("header of unexpected size", source, 4, start);
  if (header.typesEnd > view.byteLength) throw new BtfFormatError("types beyond the end", source, 12, header.typesEnd);
  if (strings + header.stringsSize > view.byteLength) {
    throw new BtfFormatError("strings beyond the end", source, 20, strings + header.stringsSize);
  }
  return header;
}

/** Walks once over the types, which have different sizes, and notes where each begins. @throws BtfFormatError. */
export function readPlaces(view: DataView, header: BtfHeader, source: string): Uint32Array {
  const { typesEnd, littleEndian } = header;
  // Every type has at least 12 bytes.
  const places = new Uint32Array(Math.floor((typesEnd - header.types) / 12));
  let count = 0;
  for (let at = header.types; at < typesEnd; ) {
    if (at + 12 > typesEnd) throw new BtfFormatError("a type runs beyond the end", source, at);
    const info = view.getUint32(at + 4, littleEndian);
    const tail = tailSizes[(info >>> 24) & 0x1f];
    if (tail === undefined) throw new BtfFormatError("unknown kind of type", source, at + 4, (info >>> 24) & 0x1f);
    places[count++] = at;
    const next = at + 12 + tail[0] + tail[1] * (info & 0xffff);
    if (next > typesEnd) throw new BtfFormatError("a type runs beyond the end", source, at, next);
    at = next;
  }
  return places.subarray(0, count);
}

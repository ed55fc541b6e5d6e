import { BtfKind } from "../../src/kernel/types/btf-format.ts";

/** One type: its kind, and the words behind the common ones, with strings where a name goes. */
export interface EncodedType {
  readonly kind: number;
  readonly name?: string;
  readonly flag?: boolean;
  /** Size or type, the third common word. */
  readonly word?: number;
  /** Entries; their number goes into the info word unless `count` says otherwise. */
  readonly tail?: readonly (readonly (number | string)[])[];
  readonly count?: number;
}

/** Where types and strings of a module begin. */
export interface EncoderBase {
  readonly stringEnd: number;
  /** Strings of the base that types use again. */
  readonly known?: Readonly<Record<string, number>>;
}

const kindsWithEntries: ReadonlySet<number> = new Set([
  BtfKind.struct,
  BtfKind.union,
  BtfKind.enum,
  BtfKind.enum64,
  BtfKind.funcProto,
  BtfKind.datasec,
]);

/** BTF of the given types, which get the numbers from 1 (or from the end of the base) on. */
export function encodeBtf(types: readonly EncodedType[], littleEndian = true, base?: EncoderBase): Buffer {
  const strings: Buffer[] = [Buffer.from("\0")];
  let stringsSize = 1;
  const offsets = new Map<string, number>(Object.entries(base?.known ?? {}));
  const offsetOf = (text: string): number => {
    if (text === "") return 0;
    const known = offsets.get(text);
    if (known !== undefined) return known;
    const offset = (base?.stringEnd ?? 0) + stringsSize;
    const bytes = Buffer.from(`${text}\0`);
    strings.push(bytes);
    stringsSize += bytes.length;
    offsets.set(text, offset);
    return offset;
  };
  const words: number[] = [];
  for (const { kind, name = "", flag = false, word = 0, tail = [], count } of types) {
    const entries = count ?? (kindsWithEntries.has(kind) ? tail.length : 0);
    words.push(offsetOf(name), ((flag ? 0x8000_0000 : 0) | (kind << 24) | entries) >>> 0, word >>> 0);
    for (const entry of tail.flat()) words.push(typeof entry === "string" ? offsetOf(entry) : entry >>> 0);
  }
  const header = Buffer.alloc(24);
  const body = Buffer.alloc(words.length * 4);
  const view = new DataView(header.buffer, header.byteOffset, 24);
  view.setUint16(0, 0xeb9f, littleEndian);
  view.setUint8(2, 1);
  for (const [at, value] of [24, 0, body.length, body.length, stringsSize].entries())
    view.setUint32(4 + at * 4, value, littleEndian);
  const bodyView = new DataView(body.buffer, body.byteOffset, body.length);
  for (const [index, value] of words.entries()) bodyView.setUint32(index * 4, value, littleEndian);
  return Buffer.concat([header, body, ...strings]);
}

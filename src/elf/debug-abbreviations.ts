import type { Bytes } from "./bytes.ts";

/** The shape of a debugging information entry (DWARF 5, 7.5.3). */
export interface Abbreviation {
  readonly tag: number;
  readonly hasChildren: boolean;
  /** Attribute, form and (for DW_FORM_implicit_const) value, one after the other. */
  readonly fields: readonly number[];
}

/** A table of `.debug_abbrev`, by code, and the offset behind it. @throws ElfFormatError beyond the end. */
export function readAbbreviations(
  bytes: Bytes,
  start: number,
): { readonly table: ReadonlyMap<number, Abbreviation>; readonly end: number } {
  const table = new Map<number, Abbreviation>();
  let at = start;
  const leb = (signed: boolean): number => {
    const read = readLeb(bytes, at, signed);
    at = read.end;
    return read.value;
  };
  for (let code = leb(false); code !== 0; code = leb(false)) {
    const tag = leb(false);
    const hasChildren = bytes.u8(at++) === 1;
    const fields: number[] = [];
    for (
      let attribute = leb(false), form = leb(false);
      attribute + form !== 0;
      attribute = leb(false), form = leb(false)
    ) {
      fields.push(attribute, form, form === implicitConstant ? leb(true) : 0);
    }
    table.set(code, { tag, hasChildren, fields });
  }
  return { table, end: at };
}

/** DW_FORM_implicit_const. */
const implicitConstant = 0x21;

/** A number in LEB128 (DWARF 5, 7.6); precise up to 2^53. */
export function readLeb(bytes: Bytes, start: number, signed: boolean): { value: number; end: number } {
  let value = 0;
  let scale = 1;
  for (let at = start; ; at++) {
    const byte = bytes.u8(at);
    value += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte < 0x80) return { value: signed && (byte & 0x40) !== 0 ? value - scale : value, end: at + 1 };
  }
}

import { Bytes } from "../elf/bytes.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import type { ElfSymbol } from "../elf/model.ts";
import { type ElfReader, isDefined } from "../elf/reader.ts";
import type { ManifestStop } from "./manifest.ts";
import { readManifest } from "./manifest-note.ts";

/** A function of a patch module that is in force in place of one of the kernel. */
export interface InForce {
  /** `vmlinux` or the module's name. */
  readonly object: string;
  /** Name and position by which the kernel found the function that it replaces. */
  readonly name: string;
  readonly sympos: number;
  /** Section and offset of its entry in the patch module. */
  readonly section: number;
  readonly offset: number;
}

/** Bytes of a row of the table of redirected functions: object, old name, new function, position. */
const rowSize = 32;

/**
 * The functions that a patch module of kmend's puts in force, from the tables that its glue reads, or from the structures of the kernel that a stop module
 * holds.
 * @throws ElfFormatError for tables that are not as they have to be.
 * @throws KmendError `MANIFEST_DAMAGED`
 */
export function functionsInForce(elf: ElfReader): InForce[] {
  const objects = elf.symbols.filter((symbol) => symbol.name === "kmend_stop_objects" && isDefined(symbol));
  const layout = objects.length === 0 ? undefined : readManifest(elf)?.stop?.layout;
  if (layout !== undefined) return objects.flatMap((table) => stoppedOf(elf, table, layout));
  return elf.symbols
    .filter((symbol) => /^kmend_funcs_\d+$/.test(symbol.name) && isDefined(symbol))
    .flatMap((table) => rowsOf(elf, table));
}

/** A function of a patch module that the livepatch core calls when an object is patched or unpatched. */
export interface Callback {
  readonly object: string;
  /** Its place in `struct klp_callbacks`: 0 for the first. */
  readonly kind: number;
  readonly section: number;
  readonly offset: number;
}

/** Bytes of a row of the table of callbacks: object, function, kind. */
const callbackSize = 24;

/** The callbacks of a patch module of kmend's. @throws ElfFormatError for a table that is not as it has to be. */
export function callbacksOf(elf: ElfReader): Callback[] {
  const tables = elf.symbols.filter((symbol) => /^kmend_callbacks_\d+$/.test(symbol.name) && isDefined(symbol));
  return tables.flatMap((table) => {
    if (table.size === 0) return [];
    const { bytes, pointers, text, broken } = tableReader(elf, table);
    const rows: Callback[] = [];
    for (let at = table.value; at < table.value + table.size; at += callbackSize) {
      const object = pointers.get(at);
      const code = pointers.get(at + 8);
      if (code === undefined) throw broken("has a row without a function", at);
      const kind = bytes.u32(at + (elf.littleEndian ? 16 : 20));
      rows.push({ object: object === undefined ? "vmlinux" : text(object, at), kind, ...code });
    }
    return rows;
  });
}

/** Reads the lists of `struct klp_object` and `struct klp_func` as the kernel does: each ends with an entry without pointers. */
function stoppedOf(elf: ElfReader, table: ElfSymbol, { object, func }: ManifestStop["layout"]): InForce[] {
  const reader = tableReader(elf, table);
  const found: InForce[] = [];
  for (let at = table.value; at < table.value + table.size; at += Math.max(object.size, 1)) {
    const owner = reader.pointers.get(at + object.name);
    const list = reader.pointers.get(at + object.funcs);
    if (list === undefined || list.section !== table.section)
      throw reader.broken("has an object without functions", at);
    for (let place = list.offset; ; place += Math.max(func.size, 1)) {
      const name = reader.pointers.get(place + func.oldName);
      const code = reader.pointers.get(place + func.newFunc);
      if (name === undefined && code === undefined) break;
      if (name === undefined || code === undefined) throw reader.broken("has a function without name or code", place);
      found.push({
        object: owner === undefined ? "vmlinux" : reader.text(owner, at),
        name: reader.text(name, place),
        sympos: reader.bytes.u32(place + func.sympos + (elf.littleEndian ? 0 : 4)),
        ...code,
      });
    }
  }
  return found;
}

interface Place {
  readonly section: number;
  readonly offset: number;
}

/** What the rows of a table are read with. */
interface TableReader {
  readonly bytes: Bytes;
  /** Where each pointer of the table's section leads. */
  readonly pointers: ReadonlyMap<number, Place>;
  text(place: Place, at: number): string;
  broken(problem: string, at?: number): ElfFormatError;
}

/** @throws ElfFormatError for a table that is not in a section. */
function tableReader(elf: ElfReader, table: ElfSymbol): TableReader {
  const section = elf.sections[table.section];
  const broken = (problem: string, at = 0): ElfFormatError =>
    new ElfFormatError(`${table.name} ${problem}`, (section?.offset ?? 0) + at);
  if (section === undefined) throw broken("is in no section");
  if (table.value < 0 || table.size < 0 || table.value + table.size > section.data.length)
    throw broken("runs beyond its section");
  const pointers = new Map(
    elf.relocationsFor(section.index).map((relocation) => {
      const symbol = elf.symbols[relocation.symbol];
      const place = { section: symbol?.section ?? 0, offset: (symbol?.value ?? 0) + relocation.addend };
      return [relocation.offset, place] as const;
    }),
  );
  const text = (place: Place, at: number): string => {
    const found = textAt(elf, place);
    if (found === undefined) throw broken("has a row whose name is nowhere", at);
    return found;
  };
  return { bytes: new Bytes(section.data, elf.littleEndian, section.offset), pointers, text, broken };
}

function rowsOf(elf: ElfReader, table: ElfSymbol): InForce[] {
  const { bytes, pointers, text, broken } = tableReader(elf, table);
  const rows: InForce[] = [];
  for (let at = table.value; at < table.value + table.size; at += rowSize) {
    const object = pointers.get(at);
    const name = pointers.get(at + 8);
    const code = pointers.get(at + 16);
    if (name === undefined || code === undefined) throw broken("has a row without a function", at);
    rows.push({
      object: object === undefined ? "vmlinux" : text(object, at),
      name: text(name, at),
      sympos: bytes.u32(at + (elf.littleEndian ? 24 : 28)),
      ...code,
    });
  }
  return rows;
}

function textAt(elf: ElfReader, { section, offset }: Place): string | undefined {
  const data = elf.sections[section]?.data;
  const end = data === undefined || offset < 0 ? -1 : data.indexOf(0, offset);
  return data === undefined || end < 0 ? undefined : Buffer.from(data.subarray(offset, end)).toString("latin1");
}

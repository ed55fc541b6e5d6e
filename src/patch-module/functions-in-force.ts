import { Bytes } from "../elf/bytes.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import type { ElfSymbol } from "../elf/model.ts";
import { type ElfReader, isDefined } from "../elf/reader.ts";

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
 * The functions that a patch module of kmend's puts in force, from the tables that its glue reads.
 * @throws ElfFormatError for tables that are not as they have to be.
 */
export function functionsInForce(elf: ElfReader): InForce[] {
  return elf.symbols
    .filter((symbol) => /^kmend_funcs_\d+$/.test(symbol.name) && isDefined(symbol))
    .flatMap((table) => rowsOf(elf, table));
}

interface Place {
  readonly section: number;
  readonly offset: number;
}

function rowsOf(elf: ElfReader, table: ElfSymbol): InForce[] {
  const section = elf.sections[table.section];
  const broken = (problem: string, at = 0): ElfFormatError =>
    new ElfFormatError(`${table.name} ${problem}`, (section?.offset ?? 0) + at);
  if (section === undefined) throw broken("is in no section");
  const end = table.value + table.size;
  if (table.value < 0 || table.size < 0 || end > section.data.length) throw broken("runs beyond its section");
  const bytes = new Bytes(section.data, elf.littleEndian, section.offset);
  const pointers = new Map(
    elf.relocationsFor(section.index).map((relocation) => {
      const symbol = elf.symbols[relocation.symbol];
      const place = { section: symbol?.section ?? 0, offset: (symbol?.value ?? 0) + relocation.addend };
      return [relocation.offset, place] as const;
    }),
  );
  const rows: InForce[] = [];
  for (let at = table.value; at < end; at += rowSize) {
    const object = pointers.get(at);
    const name = pointers.get(at + 8);
    const code = pointers.get(at + 16);
    if (name === undefined || code === undefined) throw broken("has a row without a function", at);
    const text = (place: Place): string => {
      const found = textAt(elf, place);
      if (found === undefined) throw broken("has a row whose name is nowhere", at);
      return found;
    };
    rows.push({
      object: object === undefined ? "vmlinux" : text(object),
      name: text(name),
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

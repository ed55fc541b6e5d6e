import { KmendError } from "../../support/errors.ts";
import { compareAddresses, hashName, Kallsyms, type KallsymsData } from "./kallsyms.ts";
import { type CheckedImage, findContradiction, type SectionPlace } from "./kallsyms-check.ts";
import {
  type AddressTable,
  addressTables,
  findNameTables,
  impossibleToken,
  type NameTables,
  nameLength,
  readTokens,
  sequencesOf,
} from "./kallsyms-tables.ts";

/** What decoding needs to know of a kernel image. */
export interface KallsymsSource<Section extends SectionPlace = SectionPlace> extends CheckedImage<Section> {
  /** Name for messages. */
  readonly path: string;
}

/**
 * Decodes the kernel's symbol table from its image alone, and checks it against itself and the rest of the image: markers, ascending addresses, type
 * letters, the order of the names, the version text at `linux_banner`, and the addresses of all exported symbols.
 * @throws KmendError `KALLSYMS_MISSING` or `KALLSYMS_DAMAGED`.
 */
export function decodeKallsyms<Section extends SectionPlace>(source: KallsymsSource<Section>): Kallsyms {
  const { tables, address: sectionAddress } = locate(source);
  const names = expandNames(tables, source.path);
  const problems: string[] = [];
  for (const candidate of addressTables(tables)) {
    const addresses = readAddresses(tables, candidate, sectionAddress);
    const layout = `${candidate.encoding} ${candidate.place}`;
    if (addresses === undefined) {
      problems.push(`${layout}: not in ascending order`);
      continue;
    }
    const kallsyms = new Kallsyms({ addresses, ...names, ...hashNames(names.text, names.offsets) });
    const problem = findContradiction(kallsyms, sequencesOf(tables, candidate), source);
    if (problem === undefined) return kallsyms;
    problems.push(`${layout}: ${problem}`);
  }
  throw damaged(source.path, `none of the known layouts fits the addresses (${problems.join("; ")})`);
}

function locate<Section extends SectionPlace>(
  source: KallsymsSource<Section>,
): { tables: NameTables; address: number } {
  // scripts/kallsyms.c puts everything into .rodata; the other sections are for kernels whose link script merged it.
  const sections = [...source.sections].sort((a, b) => Number(b.name === ".rodata") - Number(a.name === ".rodata"));
  let sawTokens = false;
  for (const section of sections) {
    const found = findNameTables(source.contentOf(section), source.littleEndian);
    if (found === "damaged") sawTokens = true;
    else if (found !== undefined) return { tables: found, address: section.address };
  }
  if (sawTokens) throw damaged(source.path, "the names in front of the token table do not fit their markers");
  throw new KmendError({
    code: "KALLSYMS_MISSING",
    message: "the kernel image holds no symbol table",
    where: source.path,
    why: "no kallsyms token table was found; live patching needs CONFIG_KALLSYMS, so this kernel cannot be patched",
    hint: "check that the image belongs to the kernel, and is not damaged",
  });
}

function expandNames(tables: NameTables, path: string): { text: Uint8Array; offsets: Uint32Array } {
  const tokens = readTokens(tables);
  const impossible = impossibleToken(tokens);
  if (impossible !== undefined)
    throw damaged(path, `no symbol table has the token ${JSON.stringify(impossible)} there`);
  const { data } = tables.bytes;
  const offsets = new Uint32Array(tables.count + 1);
  let text = Buffer.allocUnsafe(tables.count * 32);
  let used = 0;
  let at = tables.names;
  for (let index = 0; index < tables.count; index++) {
    const length = nameLength(data, at);
    at += length > 0x7f ? 2 : 1;
    offsets[index] = used;
    for (const end = at + length; at < end; at++) {
      const token = tokens[data[at] as number] as Uint8Array;
      if (used + token.length > text.length) text = Buffer.concat([text], text.length * 2);
      for (let byte = 0; byte < token.length; byte++) text[used++] = token[byte] as number;
    }
    const type = text[offsets[index] as number] as number;
    if (used - (offsets[index] as number) < 2 || !isTypeLetter(type)) {
      throw damaged(path, `symbol ${index} has no type letter and name`);
    }
  }
  offsets[tables.count] = used;
  return { text: new Uint8Array(text.subarray(0, used)), offsets };
}

/** Letters of nm(1), and `?`. */
function isTypeLetter(code: number): boolean {
  return (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a) || code === 0x3f;
}

/**
 * All addresses, or undefined when they do not ascend. With CONFIG_KALLSYMS_ABSOLUTE_PERCPU an offset that is not negative is itself an absolute
 * address, and a negative one counts down from the base (kernel/kallsyms.c, `kallsyms_sym_address`); without it offsets are unsigned.
 * @param sectionAddress of the section that holds the tables.
 */
function readAddresses(tables: NameTables, table: AddressTable, sectionAddress: number): Float64Array | undefined {
  const { bytes, count } = tables;
  const { start } = table;
  const offset = (index: number): number => bytes.i32(start + 4 * index);
  if (table.encoding === "absolute") return ascending(count, (index) => bytes.i64(start + 8 * index));
  if (table.encoding === "from their place") {
    return ascending(count, (index) => sectionAddress + start + 4 * index + offset(index));
  }
  const base = bytes.i64(table.base);
  return (
    ascending(count, (index) => base + (offset(index) >>> 0)) ??
    ascending(count, (index) => (offset(index) >= 0 ? offset(index) : base - 1 - offset(index)))
  );
}

function ascending(count: number, read: (index: number) => number): Float64Array | undefined {
  const addresses = new Float64Array(count);
  for (let index = 0; index < count; index++) {
    const address = read(index);
    if (index > 0 && compareAddresses(addresses[index - 1] as number, address) > 0) return undefined;
    addresses[index] = address;
  }
  return addresses;
}

function hashNames(text: Uint8Array, offsets: Uint32Array): Pick<KallsymsData, "heads" | "next"> {
  const count = offsets.length - 1;
  const heads = new Uint32Array(2 ** Math.ceil(Math.log2(count + 1)));
  const next = new Uint32Array(count);
  // Backwards, so that each chain ascends.
  for (let index = count - 1; index >= 0; index--) {
    const bucket = hashName(text, (offsets[index] as number) + 1, offsets[index + 1] as number) & (heads.length - 1);
    next[index] = heads[bucket] as number;
    heads[bucket] = index + 1;
  }
  return { heads, next };
}

function damaged(path: string, why: string): KmendError {
  return new KmendError({
    code: "KALLSYMS_DAMAGED",
    message: "the kernel image's symbol table is damaged",
    where: path,
    why,
    hint: "fetch or install the kernel image again; an intact image with this message has a layout that kmend does not know yet",
  });
}

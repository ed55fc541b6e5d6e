import { Bytes } from "../../elf/bytes.ts";
import type { Kallsyms } from "./kallsyms.ts";

/** The part of an image that the checks look at. */
export interface CheckedImage<Section extends SectionPlace = SectionPlace> {
  readonly littleEndian: boolean;
  readonly sections: readonly Section[];
  contentOf(section: Section): Uint8Array;
  bytesAt(address: number, length: number): Uint8Array | undefined;
}

/**
 * Holds a decoded symbol table against what else the image says about its symbols: `_text`, the version text, the order in which
 * `kallsyms_seqs_of_names` lists the names, and the addresses of all exported symbols in `__ksymtab`.
 * @param sequences the three-byte numbers of the symbols in the order of their names (since Linux 6.2); undefined where there are none.
 * @returns a clause that says what contradicts the table.
 */
export function findContradiction<Section extends SectionPlace>(
  kallsyms: Kallsyms,
  sequences: Uint8Array | undefined,
  image: CheckedImage<Section>,
): string | undefined {
  return (
    landmarkProblem(kallsyms, image) ??
    (sequences === undefined ? undefined : orderProblem(kallsyms, sequences)) ??
    exportProblem(kallsyms, image)
  );
}

function landmarkProblem(kallsyms: Kallsyms, image: Pick<CheckedImage, "bytesAt">): string | undefined {
  const text = kallsyms.indicesOf("_text")[0] ?? kallsyms.indicesOf("_stext")[0];
  if (text === undefined) return "neither _text nor _stext is there";
  const start = kallsyms.addressOf(text);
  if (image.bytesAt(start, 1) === undefined) return "_text is outside the image";
  // Kernels without CONFIG_KALLSYMS_ALL list functions only.
  const banner = kallsyms.indicesOf("linux_banner")[0];
  if (banner === undefined) return undefined;
  const bytes = image.bytesAt(kallsyms.addressOf(banner), 14);
  if (bytes === undefined || Buffer.from(bytes).toString("latin1") !== "Linux version ") {
    return "there is no version text at linux_banner";
  }
  return undefined;
}

/**
 * What of a name counts for its place in the order (scripts/kallsyms.c, `cleanup_symbol_name`): all of it, or for kernels that clang has linked with
 * LTO what is before the first `.`, in older ones before `.llvm.`.
 */
const comparedParts: readonly ((name: Buffer) => Buffer)[] = [
  (name) => name,
  (name) => before(name, name.indexOf(".")),
  (name) => before(name, name.indexOf(".llvm.")),
];

function before(name: Buffer, end: number): Buffer {
  return end < 0 ? name : name.subarray(0, end);
}

/** Every symbol is listed once, in the order of the names; equal names in the order of the table. */
function orderProblem(kallsyms: Kallsyms, sequences: Uint8Array): string | undefined {
  const { count } = kallsyms;
  const order = new Uint32Array(count);
  const seen = new Uint8Array(count);
  for (let at = 0; at < count; at++) {
    const index =
      ((sequences[3 * at] as number) << 16) |
      ((sequences[3 * at + 1] as number) << 8) |
      (sequences[3 * at + 2] as number);
    if (index >= count || seen[index] === 1) return `the list of names has no symbol ${index}, or has it twice`;
    seen[index] = 1;
    order[at] = index;
  }
  let problem: string | undefined;
  for (const part of comparedParts) {
    const place = firstOutOfOrder(kallsyms, order, part);
    if (place === undefined) return undefined;
    problem ??= `${kallsyms.nameOf(order[place] as number)} stands behind ${kallsyms.nameOf(order[place - 1] as number)} in the list of names`;
  }
  return problem;
}

function firstOutOfOrder(kallsyms: Kallsyms, order: Uint32Array, part: (name: Buffer) => Buffer): number | undefined {
  let previous = part(kallsyms.nameBytes(order[0] as number));
  for (let at = 1; at < order.length; at++) {
    const name = part(kallsyms.nameBytes(order[at] as number));
    const difference = previous.compare(name);
    if (difference > 0 || (difference === 0 && (order[at - 1] as number) > (order[at] as number))) return at;
    previous = name;
  }
  return undefined;
}

/** Every exported symbol has to be in the table with its address; without CONFIG_KALLSYMS_ALL, every exported function. */
function exportProblem<Section extends SectionPlace>(
  kallsyms: Kallsyms,
  image: CheckedImage<Section>,
): string | undefined {
  const strings = image.sections.find(({ name }) => name === "__ksymtab_strings");
  if (strings === undefined) return undefined;
  const names = Buffer.from(image.contentOf(strings));
  const listsData = kallsyms.indicesOf("linux_banner").length > 0;
  for (const section of image.sections.filter(({ name }) => name === "__ksymtab" || name === "__ksymtab_gpl")) {
    const bytes = new Bytes(image.contentOf(section), image.littleEndian);
    for (const { name, address } of readExports(bytes, section.address, names, strings.address) ?? []) {
      const known = kallsyms.indicesOf(name);
      if (known.length === 0 ? listsData : !known.some((index) => kallsyms.addressOf(index) === address))
        return `the exported ${name} is ${known.length === 0 ? "missing" : "at another address"}`;
    }
  }
  return undefined;
}

interface Export {
  readonly name: string;
  readonly address: number;
}

/**
 * Forms of `struct kernel_symbol` (include/linux/export.h, include/asm-generic/export.h): value and name, since 5.4 a namespace too; as offsets from
 * their own places where the architecture has CONFIG_HAVE_ARCH_PREL32_RELOCATIONS (x86 since 4.19), else as pointers.
 */
const exportForms = [
  { size: 12, width: 4 },
  { size: 8, width: 4 },
  { size: 24, width: 8 },
  { size: 16, width: 8 },
] as const;

/** The entries of an export table in the one form in which all of them have names; undefined in a form that is not known. */
function readExports(bytes: Bytes, address: number, names: Buffer, namesAddress: number): Export[] | undefined {
  for (const { size, width } of exportForms) {
    if (bytes.length % size !== 0) continue;
    const pointer = (at: number): number => (width === 8 ? bytes.i64(at) : address + at + bytes.i32(at));
    const found: Export[] = [];
    for (let at = 0; at < bytes.length; at += size) {
      const start = pointer(at + width) - namesAddress;
      if (start < 0 || start >= names.length) break;
      // The linker lets a name that another one ends with begin within that.
      const name = names.toString("latin1", start, names.indexOf(0, start));
      if (!/^[\w.$]+$/.test(name)) break;
      found.push({ name, address: pointer(at) });
    }
    if (found.length === bytes.length / size) return found;
  }
  return undefined;
}

/** Name and place of a section of an image. */
export interface SectionPlace {
  readonly name: string;
  readonly address: number;
}

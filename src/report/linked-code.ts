import type { AlignedInstruction } from "../build/explain/explain.ts";
import type { Architecture, TextInstruction } from "../diff/arch/arch.ts";
import type { Atom } from "../diff/atoms.ts";
import { baseName } from "../diff/names.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import { SectionFlag } from "../elf/constants.ts";
import type { Section } from "../elf/model.ts";
import type { KernelImage } from "../kernel/image/kernel-image.ts";
import { bytesFrom, type TargetObject } from "../match/target-object.ts";

/** Bytes of a text that is looked for at an address, and of the furthest place of a variable that goes by its name. */
const longestText = 256;
const furthest = 1 << 20;

/** What an instruction refers to, by a name that is the same in a linked function and in a relocatable one; undefined for nothing. */
type NameOf = (instruction: TextInstruction) => string | undefined;

/**
 * A function as the kernel's file has it, with what its symbol table calls the places that it leads to. Undefined where kmend has no disassembler, or the file
 * no code.
 * @param image of the kernel itself; undefined for a module, whose relocations tell.
 */
export function shippedCode(
  target: TargetObject,
  function_: { readonly address: number; readonly bytes: number },
  arch: Architecture,
  image: KernelImage | undefined,
): AlignedInstruction[] | undefined {
  const { address, bytes } = function_;
  const code = target.bytesAt(address, bytes);
  const instructions = code === undefined ? undefined : arch.text?.(code);
  const nameOf: NameOf =
    image === undefined
      ? ({ offset, length }) => nameByRelocation(target, address + offset, length)
      : (instruction) => nameByNumber(image, instruction, address);
  const whole = { bytes, entry: 0, isLinked: image !== undefined };
  return instructions?.map((instruction) => lineOf(instruction, whole, nameOf));
}

/** A function of a patch module. Undefined where kmend has no disassembler. */
export function moduleCode({ arch }: UnitObject, atom: Atom): AlignedInstruction[] | undefined {
  const entry = (atom.symbol?.value ?? atom.start) - atom.start;
  const nameOf: NameOf = ({ offset, length }) => {
    const reference = atom.references.find((each) => each.offset >= offset && each.offset < offset + length);
    if (reference === undefined) return undefined;
    const { target, type } = reference;
    const tail = arch.isPcRelative(type) ? arch.instructionTail(atom.bytes, reference.offset, type) : 0;
    const distance = target.addend + tail;
    if (target.kind === "absolute") return undefined;
    if (target.kind === "external") return named(target.name.replace(/^\.klp\.sym\.[^.]+\.(.+),\d+$/, "$1"), distance);
    if (target.kind === "entry") return inSection(target.entry.table);
    const { section, start, symbol, base } = target.atom;
    const isCode = (section.flags & SectionFlag.execinstr) !== 0;
    const text = isCode ? undefined : textIn(section, start + distance);
    if (text !== undefined) return text;
    return symbol === undefined ? inSection(section.name) : named(base, distance - (symbol.value - start));
  };
  const whole = { bytes: atom.end - atom.start, entry, isLinked: false };
  return arch.text?.(atom.bytes).map((instruction) => lineOf(instruction, whole, nameOf));
}

function lineOf(
  instruction: TextInstruction,
  { bytes, entry, isLinked }: { readonly bytes: number; readonly entry: number; readonly isLinked: boolean },
  nameOf: NameOf,
): AlignedInstruction {
  const { offset, text, target } = instruction;
  const isNear = target !== undefined && target >= 0 && target < bytes;
  // Within a function nothing has a name; in a module that is not linked, only a relocation tells where a branch leads.
  const name = isNear && isLinked ? undefined : nameOf(instruction);
  const isInside = isNear && name === undefined;
  const bare = name === undefined ? text : text.replace(/(?:-?0x[0-9a-f]+|-?\d+)(?=\(%)|(?<=\$)-?(?:0x)?[0-9a-f]+/, "");
  const isBranch = name !== undefined && target !== undefined;
  const shown = isBranch ? text.replace(/\S+$/, () => name) : bare.replace("$,", "$…,");
  return {
    shown: { offset: offset - entry, text: shown, symbols: name === undefined || isBranch ? [] : [name], line: null },
    place: offset,
    key: isInside ? text.replace(/\S+$/, "") : `${shown} ${name ?? ""}`,
    jump: isInside ? target - entry : null,
    source: undefined,
  };
}

/** Code or data without a name of its own. */
function inSection(section: string): string {
  return `(in ${section})`;
}

function named(name: string, distance: number): string {
  if (distance === 0) return baseName(name);
  return `${baseName(name)}${distance < 0 ? "-" : "+"}0x${Math.abs(distance).toString(16)}`;
}

/** In a module that is not loaded, relocations say what its places will hold. */
function nameByRelocation(target: TargetObject, address: number, length: number): string | undefined {
  for (const place of target.placesIn?.(address, length) ?? []) {
    const relative = target.valueAt(place, 4, true);
    const value = relative ?? target.valueAt(place, 4, false) ?? target.valueAt(place, 8, false);
    // An address counts from the end of the instruction.
    const tail = relative === undefined ? 0 : address + length - place;
    if (value?.kind === "external") return named(value.name, value.addend + tail);
    if (value?.kind !== "address") continue;
    const [symbol] = target.symbolsAt(value.address + tail);
    const bytes =
      target.bytesAt(value.address + tail, 1) === undefined ? undefined : textAt(target, value.address + tail);
    if (bytes !== undefined) return bytes;
    if (symbol !== undefined) return named(symbol.name, 0);
  }
  return undefined;
}

/** In a linked image, the numbers in the code are addresses. */
function nameByNumber(
  image: KernelImage,
  { text, target, offset, length }: TextInstruction,
  start: number,
): string | undefined {
  if (target !== undefined) {
    const address = start + target;
    const section = image.sectionAt(address)?.name;
    return nameAt(image, address, 0) ?? (section === undefined ? undefined : inSection(section));
  }
  const relative = /(-?)0x([0-9a-f]+)\(%rip\)/.exec(text);
  if (relative !== null) {
    // The number is the distance from the end of the instruction, as the assembler writes it.
    const distance = Number.parseInt(relative[2] as string, 16) * (relative[1] === "-" ? -1 : 1);
    return nameAt(image, start + offset + length + distance, furthest);
  }
  const number = /\$0xffffffff([0-9a-f]{8})\b/.exec(text) ?? /(?<=[\s,])-0x([0-9a-f]{8})\(/.exec(text);
  if (number === null) return undefined;
  const low = Number.parseInt(number[1] as string, 16);
  return nameAt(image, text.includes("-0x") ? -low : low - 0x1_0000_0000, furthest);
}

function nameAt(image: KernelImage, address: number, within: number): string | undefined {
  const kallsyms = image.kallsyms();
  const index = kallsyms.containing(address);
  const distance = index === undefined ? Number.POSITIVE_INFINITY : address - kallsyms.addressOf(index);
  if (index !== undefined && distance === 0) return named(kallsyms.nameOf(index), 0);
  const text = textAt(image, address);
  if (text !== undefined) return text;
  return index !== undefined && distance <= within ? named(kallsyms.nameOf(index), distance) : undefined;
}

function textAt(file: Pick<TargetObject, "bytesAt">, address: number): string | undefined {
  const bytes = bytesFrom(file, address, longestText);
  return bytes === undefined ? undefined : asText(bytes);
}

function textIn({ data, flags }: Section, offset: number): string | undefined {
  if ((flags & SectionFlag.write) !== 0 || offset < 0 || offset >= data.length) return undefined;
  return asText(data.subarray(offset, offset + longestText));
}

/** A text that ends with a zero: printable ASCII, the mark of a log level (KERN_SOH of include/linux/kern_levels.h), tabs and line feeds. */
function asText(bytes: Uint8Array): string | undefined {
  const end = bytes.indexOf(0);
  if (end < 2) return undefined;
  const text = bytes.subarray(0, end);
  const isText = text.every(
    (byte) => (byte >= 0x20 && byte < 0x7f) || byte === 1 || byte === 9 || byte === 10 || byte === 13,
  );
  return isText ? JSON.stringify(Buffer.from(text).toString("latin1")) : undefined;
}

import { RelocationX86, SectionFlag, SpecialSection } from "../../elf/constants.ts";
import type { ElfSymbol, Section } from "../../elf/model.ts";
import type { ElfReader } from "../../elf/reader.ts";
import { readVersions } from "../../elf/symbol-versions.ts";
import { readModinfo } from "../../patch-module/modinfo.ts";

/** How functions of the kernel's own modules begin and end: what the code of a stop module has to look like too. */
export interface CodeStyle {
  /** Functions that are called through pointers begin with `endbr64`. */
  readonly landingPads: boolean;
  /** Bytes of padding before each function, where the kernel may put call thunks. */
  readonly padding: number;
  /** What objtool or the compiler leaves for ftrace behind the landing pad. */
  readonly tracing: "call" | "nop" | "none";
  /** Returns are jumps to the kernel's thunk, which are listed in `.return_sites`. */
  readonly returnThunk: boolean;
  /** Calls are listed in `.call_sites`. */
  readonly callSites: boolean;
  /** What lies before functions that are called through pointers; undefined where the kernel does not check types of calls (kCFI). */
  readonly preambles: TypePreambles | undefined;
}

/**
 * Bytes before the module's init and exit function: an instruction with the hash of the function's type, and padding. All modules have the same, since the
 * types are the same. The kernel calls both through pointers, and only if the hash is the one that it expects there.
 */
export interface TypePreambles {
  readonly init: Uint8Array;
  readonly exit: Uint8Array;
  /** They are listed in `.cfi_sites`, by which a kernel changes the hashes, or the whole way of checking (FineIBT), when it loads a module. */
  readonly listed: boolean;
}

/** Unwind data of a function that has not moved the stack pointer, in the form of this kernel. */
export interface OrcForm {
  /** Bytes of an entry. */
  readonly size: number;
  /** The entry of a function's first instruction. */
  readonly atEntry: Uint8Array;
  /** `.orc_header` of modules from Linux 6.4 on. */
  readonly header: Section | undefined;
}

/** What a module that the target kernel ships tells about how modules of this kernel are made. */
export interface ShippedFacts {
  readonly elf: ElfReader;
  /** The whole version magic. */
  readonly vermagic: string;
  /** `retpoline=Y` is one of its texts. */
  readonly retpoline: boolean;
  /** Version of `module_layout`; undefined where the kernel has no versions of symbols. */
  readonly layoutVersion: number | undefined;
  /** Bytes of `struct module`, and where the addresses of its functions go. */
  readonly structModule: { readonly size: number; readonly init: number; readonly exit: number };
  readonly code: CodeStyle;
  readonly orc: OrcForm;
  /** Notes that every module of this build has, such as the build salt. */
  readonly notes: readonly Section[];
}

/** Facts of a shipped module, or the sentence that says why it does not tell them. */
export type ShippedAnswer = { readonly facts: ShippedFacts } | { readonly unusable: string };

const thisModule = ".gnu.linkonce.this_module";
const endbr64 = Buffer.from([0xf3, 0x0f, 0x1e, 0xfa]);
/** The five bytes that ftrace replaces (arch/x86/include/asm/nops.h). */
const nop5 = Buffer.from([0x0f, 0x1f, 0x44, 0x00, 0x00]);

/**
 * Reads how modules of a kernel are made from one that it ships. Only a module with an init and an exit function tells all; another one has to be asked
 * where the answer is `unusable`.
 * @throws ElfFormatError
 */
export function shippedFacts(elf: ElfReader): ShippedAnswer {
  const structure = elf.section(thisModule);
  const init = elf.symbols.find(({ name }) => name === "init_module");
  const exit = elf.symbols.find(({ name }) => name === "cleanup_module");
  if (structure === undefined || init === undefined || exit === undefined)
    return { unusable: "it has no init or no exit function" };
  const places = new Map(
    elf.relocationsFor(structure.index).map(({ offset, symbol }) => [elf.symbols[symbol]?.name, offset] as const),
  );
  const [initPlace, exitPlace] = [places.get("init_module"), places.get("cleanup_module")];
  if (initPlace === undefined || exitPlace === undefined) return { unusable: "its struct module names no functions" };
  const vermagic = readModinfo(elf).get("vermagic")?.[0];
  if (vermagic === undefined) return { unusable: "it has no version magic" };
  const preambles = typePreambles(elf, init, exit);
  if (preambles === "unknown") return { unusable: "the type hashes (kCFI) of its functions have no known form" };
  const orc = orcForm(elf, init);
  if (orc === undefined) return { unusable: "it has no ORC unwind data of its init function" };
  const versions = readVersions(elf);
  const layoutVersion = versions.find(({ name }) => name === "module_layout")?.crc;
  if (vermagic.split(" ").includes("modversions") !== (layoutVersion !== undefined))
    return { unusable: "its version magic and its versions of symbols do not go together" };
  return {
    facts: {
      ...{ elf, vermagic, layoutVersion, orc },
      retpoline: readModinfo(elf).get("retpoline")?.[0] === "Y",
      structModule: { size: structure.size, init: initPlace, exit: exitPlace },
      code: { ...codeStyle(elf, init), preambles },
      notes: elf.sections.filter(({ name, size }) => name === ".note.Linux" && size > 0),
    },
  };
}

function codeStyle(elf: ElfReader, init: ElfSymbol): Omit<CodeStyle, "preambles"> {
  const code = Buffer.from(elf.sections[init.section]?.data ?? new Uint8Array(0)).subarray(init.value);
  const landingPads = code.subarray(0, endbr64.length).equals(endbr64);
  const prefix = elf.symbols.find(({ name }) => name === "__pfx_init_module");
  const imports = new Set(
    elf.symbols.slice(1).flatMap(({ name, section }) => (section === SpecialSection.undef ? [name] : [])),
  );
  const start = code.subarray(landingPads ? endbr64.length : 0);
  const isNop = start.subarray(0, nop5.length).equals(nop5);
  return {
    landingPads,
    padding: prefix === undefined ? 0 : init.value - prefix.value,
    tracing: imports.has("__fentry__") ? "call" : isNop ? "nop" : "none",
    returnThunk: imports.has("__x86_return_thunk"),
    callSites: elf.section(".call_sites") !== undefined,
  };
}

/** Most bytes from the start of a preamble to its function: 59 of padding (FUNCTION_PADDING_CFI of arch/x86/Kconfig) and the instruction with the hash. */
const longestPreamble = 64;
/** `mov $hash,%eax` */
const hashInstruction = { opcode: 0xb8, size: 5 } as const;
/** One byte `nop`s, which the compiler puts there, and the longer ones of the assembler's. */
const paddingBytes = new Set([0x90, 0x66, 0x0f, 0x1f, 0x2e, 0x40, 0x44, 0x80, 0x84, 0x00]);

function typePreambles(elf: ElfReader, init: ElfSymbol, exit: ElfSymbol): TypePreambles | undefined | "unknown" {
  const marks = elf.symbols.filter(({ name, section }) => name.startsWith("__cfi_") && section !== 0);
  const sites = elf.section(".cfi_sites");
  if (marks.length === 0) return sites === undefined ? undefined : "unknown";
  const of = ({ section, value }: ElfSymbol): Uint8Array | undefined => {
    const starts = marks.flatMap((mark) => (mark.section === section && mark.value < value ? [mark.value] : []));
    const start = Math.max(...starts);
    if (value - start > longestPreamble) return undefined;
    const isFilled = elf.relocationsFor(section).some(({ offset }) => offset >= start && offset < value);
    const bytes = Uint8Array.from(elf.sections[section]?.data.subarray(start, value) ?? []);
    return isFilled || !isPreamble(bytes) ? undefined : bytes;
  };
  const [before, after] = [of(init), of(exit)];
  if (before === undefined || after === undefined || before.length !== after.length) return "unknown";
  return { init: before, exit: after, listed: sites !== undefined };
}

/** One instruction that holds a hash, with padding before or behind it. */
function isPreamble(bytes: Uint8Array): boolean {
  const { opcode, size } = hashInstruction;
  return [0, bytes.length - size].some(
    (at) =>
      at >= 0 &&
      bytes[at] === opcode &&
      [...bytes.subarray(0, at), ...bytes.subarray(at + size)].every((byte) => paddingBytes.has(byte)),
  );
}

/** The entry that covers the first instruction of a function; there every function is alike (psABI: the return address is on top of the stack). */
function orcForm(elf: ElfReader, init: ElfSymbol): OrcForm | undefined {
  const [addresses, entries] = [elf.section(".orc_unwind_ip"), elf.section(".orc_unwind")];
  if (addresses === undefined || entries === undefined || addresses.size === 0) return undefined;
  const size = entries.size / (addresses.size / 4);
  if (!Number.isInteger(size)) return undefined;
  let found: { readonly offset: number; readonly at: number } | undefined;
  for (const { offset, type, symbol, addend } of elf.relocationsFor(addresses.index)) {
    const home = elf.symbols[symbol];
    if (home === undefined || home.section !== init.section || type !== RelocationX86.pc32) continue;
    const at = home.value + addend;
    if (at <= init.value && (found === undefined || at > found.at)) found = { offset, at };
  }
  if (found === undefined) return undefined;
  const start = (found.offset / 4) * size;
  const atEntry = Uint8Array.from(entries.data.subarray(start, start + size));
  const header = elf.section(".orc_header");
  const isLoaded = header !== undefined && (header.flags & SectionFlag.alloc) !== 0;
  // struct orc_entry begins with the distance of the stack pointer: 8 where only the return address is on the stack.
  const distance = new DataView(atEntry.buffer).getInt16(0, elf.littleEndian);
  return distance === 8 ? { size, atEntry, header: isLoaded ? header : undefined } : undefined;
}

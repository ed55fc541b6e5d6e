import type { Atom, Reference } from "../atoms.ts";
import type { Architecture } from "./arch.ts";
import type { RelocationTable } from "./relocation-rules.ts";

/**
 * What architectures without a disassembler of ours have in common. Their addresses are made in registers by several instructions, so no single
 * relocation shows whether the address is compared: it may be.
 */
export function plainArchitecture(
  relocations: RelocationTable,
): Pick<
  Architecture,
  | "relocationWidth"
  | "relocationMask"
  | "isPcRelative"
  | "isShort"
  | "isBranch"
  | "isAddressStored"
  | "isCompared"
  | "farProblem"
  | "instructionAlignment"
  | "codeFill"
  | "codeFillLength"
  | "ftraceTables"
  | "poolEntrySize"
  | "isMappingSymbol"
  | "localEntry"
  | "loaderSymbols"
  | "ftraceEntry"
  | "instructionTail"
  | "tableBias"
  | "loadDisassembler"
  | "instructions"
> {
  return {
    relocationWidth: (type) => relocations.width(type),
    relocationMask: (type, littleEndian) => relocations.mask(type, littleEndian),
    isPcRelative: (type) => relocations.isPcRelative(type),
    isShort: (type) => relocations.rule(type)?.kind === "short",
    isBranch: (_, { type }) => relocations.rule(type)?.kind === "branch",
    isAddressStored: (atom) => atom.kind !== "function",
    isCompared: (atom, { type }) => atom.kind === "function" && relocations.rule(type)?.kind !== "branch",
    farProblem: () => undefined,
    instructionAlignment: 4,
    codeFill: 0,
    codeFillLength: (bytes) => bytes.length,
    ftraceTables: ["__patchable_function_entries"],
    poolEntrySize: () => undefined,
    isMappingSymbol: () => false,
    localEntry: () => 0,
    loaderSymbols: new Set(),
    ftraceEntry: entrySite,
    instructionTail: (_code, _offset, type) => relocations.rule(type)?.bias ?? 0,
    tableBias: () => 0,
    loadDisassembler: () => Promise.resolve(),
    instructions: () => undefined,
  };
}

/** Bytes behind a function's symbol in which its ftrace place may be: a landing pad or two and the save of the return address come before it. */
const entryRoom = 16;

/** The ftrace place of a function that a table lists; it may be before the symbol, where the compiler keeps room for a pointer there. */
export function entrySite(atom: Atom, sites: readonly number[]): number | undefined {
  const entry = atom.symbol === undefined ? 0 : atom.symbol.value - atom.start;
  return sites.find((site) => site <= entry + entryRoom);
}

/** Offset of the first reference to one of the profiling functions, when it is near the entry. */
export function entryCall(atom: Atom, names: readonly string[]): number | undefined {
  const entry = atom.symbol === undefined ? 0 : atom.symbol.value - atom.start;
  const isProfiling = ({ target }: Reference): boolean => target.kind === "external" && names.includes(target.name);
  const call = atom.references.find((reference) => reference.offset >= entry && isProfiling(reference));
  return call !== undefined && call.offset <= entry + entryRoom ? call.offset : undefined;
}

/** Sign-extends the low `bits` of a number. */
export function signed(value: number, bits: number): number {
  const shift = 32 - bits;
  return (value << shift) >> shift;
}

import type { Atom, Reference } from "../atoms.ts";
import type { DataFlow } from "./data-flow.ts";
import type { EffectDecoder } from "./effects.ts";
import type { OperandDecoder } from "./operands.ts";

/** A branch (or address) whose distance the assembler wrote itself, since both ends are in one section. */
export interface ResolvedBranch {
  /** Offset of the place in the section, as a relocation would name it. */
  readonly offset: number;
  /** Relocation type that says the same. */
  readonly type: number;
  /** Offset in the section that it leads to. */
  readonly target: number;
  /** Addend of that relocation when its symbol is exactly at the target. */
  readonly addend: number;
}

/** One decoded instruction, as far as the comparison needs it. */
export interface DecodedInstruction {
  readonly offset: number;
  readonly length: number;
  /** Direct jump or call; `kind` tells conditions and calls apart but not lengths. */
  readonly branch: { readonly kind: string; readonly width: number; readonly target: number } | undefined;
  /** nop in any form. */
  readonly isNop: boolean;
  /** The int3 behind a function. */
  readonly isTrap: boolean;
  /** What follows is not reached from here. */
  readonly isEnd: boolean;
}

/** An instruction for a person. */
export interface TextInstruction {
  readonly offset: number;
  readonly length: number;
  readonly text: string;
  /** Offset that a direct branch leads to, as far as the code itself tells. */
  readonly target: number | undefined;
}

/** A place in emitted code that a relocation fills, and what is added to the target because of where the place is in its instruction. */
export interface EmittedPlace {
  readonly offset: number;
  readonly type: number;
  readonly bias: number;
}

/** A static branch's place in the code, which can become a jump to code that reads the key. */
export interface BranchSite {
  /** Its length. */
  readonly bytes: number;
  readonly jump: EmittedPlace & { readonly bytes: Uint8Array };
  /** Code that compares a 32-bit counter with zero and goes to `taken` or back. */
  readonly readingKey: (isTakenWhileOff: boolean) => {
    readonly bytes: Uint8Array;
    readonly key: EmittedPlace;
    readonly taken: EmittedPlace;
    readonly back: EmittedPlace;
  };
}

/** An instruction that loads a register from a variable. */
export interface LoadInstruction {
  /** Offset of its first byte in the code. */
  readonly start: number;
  /** All of it, with zeros for the distance to the variable. */
  readonly bytes: Uint8Array;
  /** Offset of that distance in the code, its bytes, and the relocation type that fills it. */
  readonly offset: number;
  readonly width: number;
  readonly type: number;
}

/** All that the diff has to know about one processor architecture. */
export interface Architecture {
  readonly name: string;
  /** e_machine. */
  readonly machine: number;
  /** Bytes that a relocation of this type fills; 0 for a type that fills nothing. Undefined for an unknown type. */
  relocationWidth(type: number): number | undefined;
  /** The bits that a relocation of this type fills, as bytes with ones there. Undefined for an unknown type and for one that fills nothing. */
  relocationMask(type: number, littleEndian: boolean): Uint8Array | undefined;
  /** True when the value is relative to the place. */
  isPcRelative(type: number): boolean;
  /** True for the type of a call or jump (rather than of data or an address taken). */
  isBranch(atom: Atom, reference: Reference): boolean;
  /** True for a branch that comes back; missing where kmend does not tell calls from jumps. */
  isCall?(atom: Atom, reference: Reference): boolean;
  /** True when it reaches only its own section: it can be compared, but what it leads to cannot move away from it. */
  isShort(type: number): boolean;
  /** True when the instruction writes the address itself into memory, where it may outlive the function. */
  isAddressStored(atom: Atom, reference: Reference): boolean;
  /** True when the instruction compares a register with the address, as a loop does with the end of an array. */
  isCompared(atom: Atom, reference: Reference): boolean;
  /** Why code that is loaded far away cannot make this reference to what stays in the kernel; undefined when it can. */
  farProblem(atom: Atom, reference: Reference): string | undefined;
  /** Relocation type of a 64-bit pointer. */
  readonly pointerType: number;
  /** Instructions start at multiples of this. */
  readonly instructionAlignment: number;
  /** Byte between functions; executing it is a fault. */
  readonly codeFill: number;
  /** Bytes that assembler and linker put before the next function at the start of `bytes`. */
  codeFillLength(bytes: Uint8Array): number;
  /** Offset of the call that ftrace counts on, in the code of a function that begins at the start of `bytes`; undefined when there is no room. */
  entryCallPlace?(bytes: Uint8Array): number | undefined;
  /** Further sections, beyond those of section-classes.ts, that are tables here: the lists of ftrace entries that the compiler makes. */
  readonly ftraceTables: readonly string[];
  /** Bytes per entry of a section of addresses that the compiler shares between functions (the TOC), or undefined when it is no such section. */
  poolEntrySize(section: string): number | undefined;
  /** True for symbols that only tell code from data, such as `$x` and `$d`. */
  isMappingSymbol(name: string): boolean;
  /** Bytes from the address of a function with this st_other to the place that calls within a module enter it at. */
  localEntry(other: number): number;
  /** Undefined symbols that the linker or the module loader defines for each module. */
  readonly loaderSymbols: ReadonlySet<string>;
  /**
   * Offset in the atom of its ftrace call, or undefined when ftrace cannot redirect it.
   * @param sites offsets in the atom that an ftrace table lists.
   */
  ftraceEntry(atom: Atom, sites: readonly number[]): number | undefined;
  /** What the addend of a PC-relative relocation at `offset` of `code` leaves out: on x86 the bytes up to the end of the instruction. */
  instructionTail(code: Uint8Array, offset: number, type: number): number;
  /**
   * For an instruction that loads an address-sized number into a register, the number being at `place` of `code`: the instruction of the same length
   * that loads the register from a variable. Undefined for any other instruction.
   */
  loadInstead?(code: Uint8Array, place: number): LoadInstruction | undefined;
  /** The static branch at a place of `code`; undefined when there is no room for a jump to other code. */
  branchSite?(code: Uint8Array, place: number): BranchSite | undefined;
  /**
   * The same for a distance in a table: what has to be added to an addend at `offset` of the section to get the offset that is meant, where the table
   * counts from the start of its entry instead of from the field.
   */
  tableBias(section: string, offset: number): number;
  /** Makes {@link resolvedBranches} and {@link instructions} usable. */
  loadDisassembler(): Promise<void>;
  /** Branches in `code[start, end)` without relocation that leave that range. */
  resolvedBranches(code: Uint8Array, start: number, end: number, littleEndian: boolean): ResolvedBranch[];
  /** All instructions from the first byte on; undefined where kmend has no disassembler. */
  instructions(code: Uint8Array): DecodedInstruction[] | undefined;
  /** Where kmend can follow addresses through code: how calls pass them, and what each instruction does to them. */
  readonly dataFlow?: DataFlow;
  /** Decodes what instructions do to registers and memory; missing where kmend cannot follow addresses through code. */
  effects?(): EffectDecoder;
  /** Finds the numbers that code hands to calls. */
  operands(): OperandDecoder;
  /** Instructions as text; missing where kmend has no disassembler. */
  text?(code: Uint8Array): readonly TextInstruction[];
  /** What the names of the GNU tools for this architecture begin with, by byte order. */
  readonly gnuName: { readonly little: string; readonly big: string };
}

import type { Atom, Reference } from "../atoms.ts";

/** A branch whose distance the assembler wrote itself, since both ends are in one section. */
export interface ResolvedBranch {
  /** Offset of the distance field in the section. */
  readonly offset: number;
  /** Bytes of the distance field: 1 or 4. */
  readonly width: number;
  /** Offset in the section that it leads to. */
  readonly target: number;
}

/** One decoded instruction, as far as the comparison needs it. */
export interface DecodedInstruction {
  readonly offset: number;
  readonly length: number;
  /** Direct jump or call; `kind` tells conditions and calls apart but not lengths. */
  readonly branch: { readonly kind: string; readonly width: number; readonly target: number } | undefined;
  /** nop in any form, or the int3 behind a function. */
  readonly isPadding: boolean;
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
  /** True when the value is relative to the place. */
  isPcRelative(type: number): boolean;
  /** True for the type of a call or jump (rather than of data or an address taken). */
  isBranch(atom: Atom, reference: Reference): boolean;
  /** True when the instruction writes the address itself into memory, where it may outlive the function. */
  isAddressStored(atom: Atom, reference: Reference): boolean;
  /** True when the instruction compares a register with the address, as a loop does with the end of an array. */
  isCompared(atom: Atom, reference: Reference): boolean;
  /** Type that a branch without relocation gets when it needs one. */
  readonly branchType: number;
  /** The same for a one-byte distance, which cannot be carried but can be compared. */
  readonly shortBranchType: number;
  /** Offset in the atom of its ftrace call, or undefined when ftrace cannot redirect it. */
  ftraceEntry(atom: Atom): number | undefined;
  /** Bytes from the start of a PC-relative place at `offset` of `code` to the end of its instruction. */
  instructionTail(code: Uint8Array, offset: number): number;
  /**
   * For an instruction that loads an address-sized number into a register, the number being at `place` of `code`: the instruction of the same length
   * that loads the register from a variable. Undefined for any other instruction.
   */
  loadInstead?(code: Uint8Array, place: number): LoadInstruction | undefined;
  /** Makes {@link resolvedBranches} and {@link instructions} usable. */
  loadDisassembler(): Promise<void>;
  /** Branches in `code[start, end)` without relocation that leave that range. */
  resolvedBranches(code: Uint8Array, start: number, end: number): ResolvedBranch[];
  /** All instructions from the first byte on. */
  instructions(code: Uint8Array): DecodedInstruction[];
}

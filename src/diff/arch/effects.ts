/** Where an instruction passes control on to. */
export type Flow =
  | { readonly kind: "next" }
  /** A direct jump or call; the target is an offset in the decoded code, meaningless where a relocation fills it. */
  | { readonly kind: "jump" | "branch" | "call"; readonly target: number }
  | { readonly kind: "indirect-jump" | "indirect-call" }
  | { readonly kind: "return" };

/** What an instruction does to registers and memory, as far as an address in a register can be followed. Registers are numbered as the architecture likes. */
export interface Effect {
  readonly offset: number;
  readonly length: number;
  readonly flow: Flow;
  /** Registers whose content is used as a value, and may get into what is written. */
  readonly values: readonly number[];
  /** Registers of which the address of a memory operand is made. */
  readonly bases: readonly number[];
  /** Registers that get new content, with none of the old in it. */
  readonly sets: readonly number[];
  /** Registers that may keep some of their old content. */
  readonly changes: readonly number[];
  /** The memory operand's use; `address` for an instruction that only computes where it would be. */
  readonly memory: "none" | "address" | "read" | "write" | "both";
  /** Displacement of a memory operand in the function's own stack; undefined for other memory. */
  readonly stackSlot: number | undefined;
  /** It puts its values on the stack as arguments of the next call. */
  readonly isPush: boolean;
  /** Bytes of the instruction that hold the displacement of its memory operand, counted from its start; undefined without one. */
  readonly displacement: number | undefined;
  /** True when the memory operand has an index register, so that the displacement alone does not tell the place. */
  readonly isIndexed: boolean;
}

/** The registers of a calling convention, as {@link Effect} numbers them. */
export interface CallConvention {
  /** In the order of the arguments. */
  readonly parameters: readonly number[];
  readonly result: number;
  /** What a call may leave changed. */
  readonly clobbered: readonly number[];
}

/** All that following addresses through code needs of an architecture. */
export interface EffectDecoder {
  readonly convention: CallConvention;
  decode(code: Uint8Array): readonly Effect[];
}

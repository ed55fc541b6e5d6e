/** A memory operand: `displacement(base, index)`, where a relocation may stand for the displacement. */
export interface MemoryOperand {
  readonly kind: "memory";
  readonly base: string | undefined;
  readonly hasIndex: boolean;
  readonly displacement: number;
  /** Offset in the code of the displacement's field; undefined when there is none. */
  readonly place: number | undefined;
  /** What has to be added to the addend of a relocation there to get the address that is meant. */
  readonly bias: number;
  /** The data of this processor, which has another address on each. */
  readonly isPerCpu: boolean;
  /** Bytes that are read or written. */
  readonly width: number;
}

/** What an instruction reads for its result. */
export type Operand =
  | { readonly kind: "register"; readonly register: string }
  | { readonly kind: "number"; readonly value: number; readonly place: number | undefined }
  | MemoryOperand;

/** What an instruction does to values that may be addresses; everything else that it writes becomes unknown. */
export type Effect =
  | { readonly kind: "move"; readonly to: string; readonly from: Operand; readonly isConditional: boolean }
  | { readonly kind: "address"; readonly to: string; readonly of: MemoryOperand }
  | { readonly kind: "add"; readonly to: string; readonly value: number }
  | { readonly kind: "store"; readonly to: MemoryOperand; readonly from: Operand }
  | { readonly kind: "push"; readonly from: Operand }
  | { readonly kind: "pop"; readonly to: string | undefined };

/** One instruction as the analysis of data flow needs it. Registers have the names of their full width. */
export interface FlowInstruction {
  readonly offset: number;
  readonly length: number;
  readonly flow: "next" | "jump" | "branch" | "call" | "indirect jump" | "indirect call" | "return" | "trap" | "end";
  /** For a direct jump, branch or call: where it leads when no relocation says otherwise, and the offset and width of its field. */
  readonly target: { readonly offset: number; readonly field: number; readonly width: number } | undefined;
  readonly effect: Effect | undefined;
  /** Registers that it writes. */
  readonly writes: readonly string[];
  /** Memory that it reads or writes; undefined for an instruction without such an operand. */
  readonly memory: MemoryOperand | undefined;
}

/** Which registers a call takes and keeps. */
export interface CallingConvention {
  readonly stackPointer: string;
  readonly parameters: readonly string[];
  readonly result: string;
  /** Registers that a call may change. */
  readonly scratch: readonly string[];
}

/** What follows addresses through the code of an architecture. */
export interface DataFlow {
  readonly calls: CallingConvention;
  /** Decodes from `start` on; offsets are those in `code`. */
  readonly read: (code: Uint8Array, start: number) => FlowInstruction[];
  /**
   * What the instruction compares: something with a number of its own, or what these registers hold; undefined for one that compares nothing.
   * @param instruction its bytes.
   */
  readonly compared: (instruction: Uint8Array) => "number" | readonly string[] | undefined;
}

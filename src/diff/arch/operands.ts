/** A number that instructions put into a register, with nothing of what was there before. */
export interface NumberLoad {
  readonly register: number;
  readonly value: number;
  /** Two loads of one kind into one register differ in their number alone. */
  readonly kind: string;
  /** Offsets of the instructions that hold parts of the number; more than one where it does not fit into one. */
  readonly parts: readonly number[];
}

/** One instruction, as far as a number on its way to a call can be followed. */
export interface OperandInstruction {
  readonly offset: number;
  readonly length: number;
  readonly load?: NumberLoad | undefined;
  /** Every register that it may read or write, but the one of {@link load}. */
  readonly touches: readonly number[];
  /** The register that it gives new content, where the decoder knows it. */
  readonly target?: number | undefined;
  /** `next` goes on behind it; `jump` to an offset of the code; `end` anywhere else. */
  readonly flow: "next" | "end" | { readonly jump: number };
  /** It is a branch that may not be taken. */
  readonly isConditional?: boolean;
  /** Registers that it may write, where the decoder knows all of them; otherwise it may write each that it touches. */
  readonly writes?: readonly number[] | undefined;
  /** What it does with addresses. */
  readonly addresses?: AddressUse | undefined;
}

/** What an instruction does with addresses in registers, as far as comparing them goes. */
export interface AddressUse {
  /** It compares what these registers hold, subtracts one from the other, or looks which bits differ. Not told of x86-64, where {@link DataFlow} tells more. */
  readonly compares?: readonly number[];
  /** The result is the distance between two addresses. */
  readonly isDistance?: boolean;
  /** The register of which its target gets a copy. */
  readonly copyOf?: number;
  /** It goes on behind it with what registers hold: a branch that may not be taken, or a call, which comes back. */
  readonly goesOn?: "branch" | "call";
}

/** Finds the numbers that code hands to calls. */
export interface OperandDecoder {
  /** Registers of the arguments of a call, in their order. */
  readonly parameters: readonly number[];
  /** Registers that a call may change. */
  readonly scratch: readonly number[];
  decode(code: Uint8Array, littleEndian: boolean): readonly OperandInstruction[];
}

/** What one instruction word does, before numbers of several words are put together. */
export interface DecodedWord {
  readonly touches: readonly number[];
  readonly target?: number | undefined;
  readonly flow?: OperandInstruction["flow"];
  readonly writes?: readonly number[];
  readonly addresses?: AddressUse;
  /** Puts a number into a register; `known` is what the register holds, for an instruction that adds a part to it. */
  readonly number?: {
    readonly register: number;
    readonly kind: string;
    readonly value: (known: number | undefined) => number | undefined;
    readonly adds?: true;
  };
}

/** Decodes code of four-byte instructions. */
export function decodeWords(
  code: Uint8Array,
  littleEndian: boolean,
  decodeWord: (word: number, offset: number) => DecodedWord,
): OperandInstruction[] {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  const held = new Map<number, NumberLoad>();
  const list: OperandInstruction[] = [];
  for (let offset = 0; offset + 4 <= code.length; offset += 4) {
    const {
      touches,
      target,
      flow = "next",
      number,
      writes,
      addresses,
    } = decodeWord(view.getUint32(offset, littleEndian), offset);
    const before = number?.adds === true ? held.get(number.register) : undefined;
    const value = number?.value(before?.value);
    if (flow !== "next") held.clear();
    for (const register of touches) held.delete(register);
    if (target !== undefined) held.delete(target);
    let load: NumberLoad | undefined;
    if (number !== undefined && value !== undefined) {
      load = { register: number.register, value, kind: number.kind, parts: [...(before?.parts ?? []), offset] };
      held.set(number.register, load);
    } else if (number !== undefined) held.delete(number.register);
    const unknown = number !== undefined && load === undefined ? [number.register] : [];
    list.push({ offset, length: 4, load, touches: [...touches, ...unknown], target, flow, writes, addresses });
  }
  return list;
}

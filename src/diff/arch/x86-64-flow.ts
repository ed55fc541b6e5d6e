import { requireOwn } from "../../support/own-files.ts";
import type { CallingConvention, Effect, FlowInstruction, MemoryOperand, Operand } from "./data-flow.ts";

type Iced = typeof import("iced-x86");
type Instruction = import("iced-x86").Instruction;
type Factory = import("iced-x86").InstructionInfoFactory;
type Offsets = import("iced-x86").ConstantOffsets;

/** System V psABI for x86-64, section 3.2. */
export const x86_64Calls: CallingConvention = {
  stackPointer: "RSP",
  parameters: ["RDI", "RSI", "RDX", "RCX", "R8", "R9"],
  result: "RAX",
  scratch: ["RAX", "RCX", "RDX", "RSI", "RDI", "R8", "R9", "R10", "R11"],
};

/** Decodes code from `start` on, as far as the data flow of addresses needs it. */
export function x86_64Flow(code: Uint8Array, start: number): FlowInstruction[] {
  const iced = requireOwn("iced-x86") as Iced;
  const decoder = new iced.Decoder(64, code.subarray(start), iced.DecoderOptions.None);
  const instruction = new iced.Instruction();
  const factory = new iced.InstructionInfoFactory();
  const list: FlowInstruction[] = [];
  try {
    while (decoder.canDecode) {
      const position = decoder.position;
      decoder.decodeOut(instruction);
      const constants = decoder.getConstantOffsets(instruction);
      const length = decoder.position - position;
      list.push(new Reading(iced, factory, instruction, constants, start + position, length, start).read());
      constants.free();
    }
  } finally {
    factory.free();
    instruction.free();
    decoder.free();
  }
  return list;
}

class Reading {
  readonly iced: Iced;
  readonly factory: Factory;
  readonly instruction: Instruction;
  readonly constants: Offsets;
  readonly offset: number;
  readonly length: number;
  /** Where the decoder began. */
  readonly start: number;

  constructor(
    iced: Iced,
    factory: Factory,
    instruction: Instruction,
    constants: Offsets,
    offset: number,
    length: number,
    start: number,
  ) {
    this.iced = iced;
    this.factory = factory;
    this.instruction = instruction;
    this.constants = constants;
    this.offset = offset;
    this.length = length;
    this.start = start;
  }

  read(): FlowInstruction {
    const memory = this.#memory();
    return {
      offset: this.offset,
      length: this.length,
      flow: this.#flow(),
      target: this.#target(),
      effect: this.#effect(memory),
      writes: this.#writes(),
      memory: this.instruction.mnemonic === this.iced.Mnemonic.Lea || this.#isNop() ? undefined : memory,
    };
  }

  #isNop(): boolean {
    return this.instruction.mnemonic === this.iced.Mnemonic.Nop;
  }

  #flow(): FlowInstruction["flow"] {
    const { FlowControl, Mnemonic } = this.iced;
    switch (this.instruction.flowControl) {
      case FlowControl.UnconditionalBranch:
        return "jump";
      case FlowControl.ConditionalBranch:
        return "branch";
      case FlowControl.Call:
        return "call";
      case FlowControl.IndirectBranch:
        return "indirect jump";
      case FlowControl.IndirectCall:
        return "indirect call";
      case FlowControl.Return:
        return "return";
      case FlowControl.Exception:
        return "trap";
      default:
        return this.instruction.mnemonic === Mnemonic.Int3 || this.instruction.isInvalid ? "end" : "next";
    }
  }

  #target(): FlowInstruction["target"] {
    const { instruction } = this;
    const isShort = instruction.isJmpShort || instruction.isJccShort;
    if (!isShort && !instruction.isJmpNear && !instruction.isJccNear && !instruction.isCallNear) return undefined;
    const width = isShort ? 1 : 4;
    const offset = this.start + Number(BigInt.asIntN(64, instruction.nearBranchTarget));
    return { offset, field: this.offset + this.length - width, width };
  }

  #memory(): MemoryOperand | undefined {
    const { instruction, iced } = this;
    const isMemory = [0, 1, 2].some(
      (index) => index < instruction.opCount && instruction.opKind(index) === iced.OpKind.Memory,
    );
    if (!isMemory) return undefined;
    const isRelative = instruction.isIpRelMemoryOperand;
    const place = this.constants.hasDisplacement ? this.offset + this.constants.displacementOffset : undefined;
    return {
      kind: "memory",
      base:
        isRelative || instruction.memoryBase === iced.Register.None ? undefined : this.#name(instruction.memoryBase),
      hasIndex: instruction.memoryIndex !== iced.Register.None,
      displacement: isRelative ? 0 : Number(BigInt.asIntN(64, instruction.memoryDisplacement)),
      place,
      bias: isRelative && place !== undefined ? this.offset + this.length - place : 0,
      isPerCpu: [iced.Register.GS, iced.Register.FS].includes(instruction.segmentPrefix),
      width: iced.MemorySizeExt.size(instruction.memorySize),
    };
  }

  #operand(index: number, memory: MemoryOperand | undefined): Operand | undefined {
    const { instruction, iced } = this;
    if (index >= instruction.opCount) return undefined;
    const kind = instruction.opKind(index);
    if (kind === iced.OpKind.Register) return { kind: "register", register: this.#name(instruction.opRegister(index)) };
    if (kind === iced.OpKind.Memory) return memory;
    if (kind < iced.OpKind.Immediate8 || kind > iced.OpKind.Immediate32to64) return undefined;
    const value = Number(BigInt.asIntN(64, instruction.immediate(index)));
    return { kind: "number", value, place: this.offset + this.constants.immediateOffset };
  }

  #effect(memory: MemoryOperand | undefined): Effect | undefined {
    const { instruction, iced } = this;
    const { Mnemonic } = iced;
    const [first, second] = [this.#operand(0, memory), this.#operand(1, memory)];
    const to = first?.kind === "register" ? first.register : undefined;
    switch (instruction.mnemonic) {
      case Mnemonic.Mov:
        if (second === undefined) return undefined;
        if (first?.kind === "memory") return { kind: "store", to: first, from: second };
        return to !== undefined && this.#isWide(second)
          ? { kind: "move", to, from: second, isConditional: false }
          : undefined;
      case Mnemonic.Lea:
        return to === undefined || memory === undefined ? undefined : { kind: "address", to, of: memory };
      case Mnemonic.Add:
      case Mnemonic.Sub: {
        if (to === undefined || second?.kind !== "number" || !this.#isFull(0)) return undefined;
        return { kind: "add", to, value: instruction.mnemonic === Mnemonic.Add ? second.value : -second.value };
      }
      case Mnemonic.Push:
        return { kind: "push", from: first ?? { kind: "number", value: 0, place: undefined } };
      case Mnemonic.Pop:
        return { kind: "pop", to };
      case Mnemonic.Xor:
        return to !== undefined && second?.kind === "register" && second.register === to
          ? { kind: "move", to, from: { kind: "number", value: 0, place: undefined }, isConditional: false }
          : undefined;
      default:
        return to !== undefined &&
          second !== undefined &&
          this.#isFull(0) &&
          /^Cmov/.test(Mnemonic[instruction.mnemonic] ?? "")
          ? { kind: "move", to, from: second, isConditional: true }
          : undefined;
    }
  }

  /** An address has 64 bits; a number, or the address of something in the kernel, may be moved as 32 bits. */
  #isWide(source: Operand): boolean {
    return source.kind === "number" || this.#isFull(0);
  }

  #isFull(index: number): boolean {
    const register = this.instruction.opRegister(index);
    return this.iced.RegisterExt.size(register) === 8;
  }

  #writes(): string[] {
    const { OpAccess } = this.iced;
    const info = this.factory.info(this.instruction);
    const found: string[] = [];
    for (const used of info.usedRegisters()) {
      const writing = [OpAccess.Write, OpAccess.CondWrite, OpAccess.ReadWrite, OpAccess.ReadCondWrite];
      if (writing.includes(used.access)) found.push(this.#name(used.register));
      used.free();
    }
    info.free();
    return found;
  }

  #name(register: number): string {
    return this.iced.Register[this.iced.RegisterExt.fullRegister(register)] ?? "";
  }
}

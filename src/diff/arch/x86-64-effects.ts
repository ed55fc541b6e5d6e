import type { Effect, EffectDecoder, Flow } from "./effects.ts";

type Iced = typeof import("iced-x86");
type Instruction = InstanceType<Iced["Instruction"]>;
type InstructionInfo = InstanceType<Iced["InstructionInfo"]>;
type UsedMemory = InstanceType<Iced["UsedMemory"]>;
type UsedRegister = InstanceType<Iced["UsedRegister"]>;

/** Decodes x86-64 code with the disassembler; System V AMD64 psABI, chapter 3.2. */
export function effectDecoder(iced: Iced): EffectDecoder {
  const { Register: R } = iced;
  return {
    convention: {
      parameters: [R.RDI, R.RSI, R.RDX, R.RCX, R.R8, R.R9],
      result: R.RAX,
      clobbered: [R.RAX, R.RCX, R.RDX, R.RSI, R.RDI, R.R8, R.R9, R.R10, R.R11],
    },
    decode: (code) => decodeAll(iced, code),
  };
}

function decodeAll(iced: Iced, code: Uint8Array): Effect[] {
  const decoder = new iced.Decoder(64, code, iced.DecoderOptions.None);
  const factory = new iced.InstructionInfoFactory();
  const instruction = new iced.Instruction();
  const effects: Effect[] = [];
  try {
    while (decoder.canDecode) {
      const offset = decoder.position;
      decoder.decodeOut(instruction);
      const constants = decoder.getConstantOffsets(instruction);
      const info = factory.info(instruction);
      effects.push({
        ...registersOf(iced, instruction, info),
        offset,
        length: decoder.position - offset,
        flow: flowOf(iced, instruction),
        displacement: constants.hasDisplacement ? constants.displacementOffset : undefined,
        isIndexed: instruction.memoryIndex !== iced.Register.None || isPlainBase(iced, instruction),
      });
      constants.free();
      info.free();
    }
  } finally {
    instruction.free();
    factory.free();
    decoder.free();
  }
  return effects;
}

/** A base register other than the instruction pointer: the displacement is the start of a table there. */
function isPlainBase({ Register: R }: Iced, { memoryBase }: Instruction): boolean {
  return memoryBase !== R.None && memoryBase !== R.RIP && memoryBase !== R.EIP;
}

function registersOf(
  iced: Iced,
  instruction: Instruction,
  info: InstructionInfo,
): Pick<Effect, "values" | "bases" | "sets" | "changes" | "memory" | "stackSlot" | "isPush"> {
  const { Register: R, OpKind, OpAccess, RegisterExt, Mnemonic } = iced;
  const full = (register: number): number => RegisterExt.fullRegister(register);
  const ignored = new Set<number>([R.None, R.RSP, R.RIP, R.EIP]);
  const values = new Set<number>();
  const sets = new Set<number>();
  const changes = new Set<number>();
  const explicit = new Set<number>();
  const note = (register: number, access: number): void => {
    const whole = full(register);
    if (ignored.has(whole)) return;
    if (access !== OpAccess.Write && access !== OpAccess.CondWrite && access !== OpAccess.NoMemAccess)
      values.add(whole);
    if (access === OpAccess.Write || access === OpAccess.ReadWrite) {
      // Writing 32 bits clears the others; fewer leave them.
      if (RegisterExt.size(register) >= 4) sets.add(whole);
      else changes.add(whole);
    } else if (access === OpAccess.CondWrite || access === OpAccess.ReadCondWrite) changes.add(whole);
  };
  for (let operand = 0; operand < instruction.opCount; operand++) {
    if (instruction.opKind(operand) !== OpKind.Register) continue;
    const register = instruction.opRegister(operand);
    explicit.add(full(register));
    note(register, info.opAccess(operand));
  }
  let reads = false;
  let writes = false;
  let computes = false;
  const bases = new Set<number>();
  const places: UsedMemory[] = info.usedMemory();
  for (const used of places) {
    const { access } = used;
    // String instructions have their addresses in registers that no operand names.
    for (const register of [used.base, used.index].map(full)) if (!ignored.has(register)) bases.add(register);
    if (access === OpAccess.NoMemAccess) computes = true;
    else {
      if (access !== OpAccess.Write && access !== OpAccess.CondWrite) reads = true;
      if (access !== OpAccess.Read && access !== OpAccess.CondRead) writes = true;
    }
    used.free();
  }
  const registers: UsedRegister[] = info.usedRegisters();
  for (const used of registers) {
    const { register } = used;
    if (!explicit.has(full(register)) && !bases.has(full(register))) note(register, used.access);
    used.free();
  }
  const isStackAddress = instruction.mnemonic === Mnemonic.Mov && full(instruction.op1Register) === R.RSP;
  const isPush = instruction.mnemonic === Mnemonic.Push;
  const memory = isPush && bases.size === 0 ? "none" : accessOf(reads, writes && !isPush, computes || isStackAddress);
  return {
    values: [...values],
    bases: [...bases],
    sets: [...sets],
    changes: [...changes],
    memory,
    stackSlot:
      full(instruction.memoryBase) === R.RSP
        ? Number(BigInt.asIntN(32, instruction.memoryDisplacement))
        : isStackAddress
          ? 0
          : undefined,
    isPush,
  };
}

function accessOf(reads: boolean, writes: boolean, computes: boolean): Effect["memory"] {
  if (reads && writes) return "both";
  if (writes) return "write";
  if (reads) return "read";
  return computes ? "address" : "none";
}

function flowOf({ FlowControl }: Iced, instruction: Instruction): Flow {
  const target = (): number => Number(BigInt.asIntN(64, instruction.nearBranchTarget));
  switch (instruction.flowControl) {
    case FlowControl.UnconditionalBranch:
      return { kind: "jump", target: target() };
    case FlowControl.ConditionalBranch:
      return { kind: "branch", target: target() };
    case FlowControl.Call:
      return { kind: "call", target: target() };
    case FlowControl.IndirectBranch:
      return { kind: "indirect-jump" };
    case FlowControl.IndirectCall:
      return { kind: "indirect-call" };
    case FlowControl.Return:
      return { kind: "return" };
    default:
      // ud2 stands for WARN() too, after which the code goes on.
      return { kind: "next" };
  }
}

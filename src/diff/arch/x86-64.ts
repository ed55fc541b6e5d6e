import { Machine, RelocationX86 as R } from "../../elf/constants.ts";
import { requireOwn } from "../../support/own-files.ts";
import type { Atom, Reference } from "../atoms.ts";
import type { Architecture, BranchSite, DecodedInstruction, LoadInstruction, ResolvedBranch } from "./arch.ts";
import { x86_64Compared } from "./x86-64-compared.ts";
import { effectDecoder } from "./x86-64-effects.ts";
import { x86_64Calls, x86_64Flow } from "./x86-64-flow.ts";
import { x86_64Operands } from "./x86-64-operands.ts";
import { x86_64Text } from "./x86-64-text.ts";

/** Bytes filled by each relocation type of the x86-64 psABI that the kernel's loader or linker knows. */
const widths: ReadonlyMap<number, number> = new Map([
  [R.none, 0],
  [R.abs64, 8],
  [R.pc64, 8],
  [R.pc32, 4],
  [R.plt32, 4],
  [R.abs32, 4],
  [R.abs32s, 4],
  [R.gotpcrel, 4],
  [R.gotpcrelx, 4],
  [R.rexGotpcrelx, 4],
  [R.abs16, 2],
  [R.pc16, 2],
  [R.abs8, 1],
  [R.pc8, 1],
]);

const pcRelative: ReadonlySet<number> = new Set([
  R.pc32,
  R.plt32,
  R.pc64,
  R.pc16,
  R.pc8,
  R.gotpcrel,
  R.gotpcrelx,
  R.rexGotpcrelx,
]);

type Iced = typeof import("iced-x86");
let iced: Iced | undefined;

function disassembler(): Iced {
  if (iced === undefined) throw new Error("the disassembler is not loaded");
  return iced;
}

function loadedDisassembler(): Iced {
  // A plain import would search its megabyte of text for exports first, which takes longer than all the rest.
  iced ??= requireOwn("iced-x86") as Iced;
  return iced;
}

export const x86_64: Architecture = {
  name: "x86_64",
  machine: Machine.x86_64,
  pointerType: R.abs64,
  instructionAlignment: 1,
  /** int3. */
  codeFill: 0xcc,
  codeFillLength,

  entryCallPlace(bytes: Uint8Array): number | undefined {
    const isLandingPad = bytes[0] === 0xf3 && bytes[1] === 0x0f && bytes[2] === 0x1e && bytes[3] === 0xfa;
    const at = isLandingPad ? 4 : 0;
    return at + 5 <= bytes.length ? at : undefined;
  },
  // __mcount_loc does this here; what the compiler lists has been of use to the build alone.
  ftraceTables: [],
  loaderSymbols: new Set(["_GLOBAL_OFFSET_TABLE_"]),

  relocationWidth: (type) => widths.get(type),

  relocationMask(type: number): Uint8Array | undefined {
    const width = widths.get(type) ?? 0;
    return width === 0 ? undefined : new Uint8Array(width).fill(0xff);
  },

  isShort: (type) => type === R.pc8,

  farProblem: () => undefined,

  poolEntrySize: () => undefined,

  isMappingSymbol: () => false,

  localEntry: () => 0,

  tableBias: () => 0,

  isPcRelative: (type) => pcRelative.has(type),

  loadInstead: (code, place) => loadOfVariable(code, place),

  branchSite: (code, place) => staticBranch(code, place),

  isBranch(atom: Atom, { offset, type }: Reference): boolean {
    if (type === R.plt32) return true;
    if (type !== R.pc32 || atom.bytes.length === 0) return false;
    const opcode = atom.bytes[offset - 1] ?? 0;
    // call rel32, jmp rel32, and the two-byte jcc rel32.
    return opcode === 0xe8 || opcode === 0xe9 || (atom.bytes[offset - 2] === 0x0f && (opcode & 0xf0) === 0x80);
  },

  // call rel32.
  isCall: (atom, { offset }) => atom.bytes[offset - 1] === 0xe8,

  isAddressStored(atom: Atom, { offset, type }: Reference): boolean {
    if (atom.kind !== "function") return type === R.abs64 || type === R.abs32s;
    // mov $imm32, memory is c7 /0 with a ModRM that is not a register; SIB and displacement stand between it and the immediate.
    if (type !== R.abs32s) return false;
    for (let back = 2; back <= 7; back++) {
      if (atom.bytes[offset - back] !== 0xc7) continue;
      const modrm = atom.bytes[offset - back + 1] ?? 0;
      if ((modrm & 0x38) !== 0 || modrm >> 6 === 3) continue;
      const sib = (modrm & 7) === 4 ? 1 : 0;
      const displacement = modrm >> 6 === 1 ? 1 : modrm >> 6 === 2 || (modrm & 7) === 5 ? 4 : 0;
      if (back === 2 + sib + displacement) return true;
    }
    return false;
  },

  isCompared(atom: Atom, { offset, type }: Reference): boolean {
    if (type !== R.abs32s || atom.kind !== "function") return false;
    // cmp $imm32, %rax is 3d; cmp $imm32 with another register is 81 /7.
    return (
      atom.bytes[offset - 1] === 0x3d || (atom.bytes[offset - 2] === 0x81 && (atom.bytes[offset - 1] ?? 0) >= 0xf8)
    );
  },

  ftraceEntry(atom: Atom, sites: readonly number[]): number | undefined {
    const entry = atom.symbol === undefined ? 0 : atom.symbol.value - atom.start;
    // With IBT the function begins with endbr64 (f3 0f 1e fa), and the call comes after it.
    const after =
      atom.bytes[entry] === 0xf3 && atom.bytes[entry + 1] === 0x0f && atom.bytes[entry + 2] === 0x1e
        ? entry + 4
        : entry;
    for (const { offset, target } of atom.references) {
      if (offset > after + 2) break;
      if (target.kind === "external" && target.name === "__fentry__" && offset > after) return after;
    }
    // With `gcc -mnop-mcount` or `objtool --mnop` a nop stands there, and only the table tells that it is ftrace's.
    return sites.includes(after) && isFiveByteNop(atom.bytes, after) ? after : undefined;
  },

  loadDisassembler(): Promise<void> {
    loadedDisassembler();
    return Promise.resolve();
  },

  instructionTail(code: Uint8Array, offset: number): number {
    // A RIP-relative operand has no SIB byte: the byte before the distance is ModRM, and the one before that the opcode, whose immediate
    // follows the distance. 0f ba, 0f a4 and 0f ac are the two-byte opcodes with an immediate; as one-byte opcodes these have no ModRM.
    if (((code[offset - 1] ?? 0) & 0xc7) !== 0x05) return 4;
    const opcode = code[offset - 2] ?? 0;
    const extension = ((code[offset - 1] ?? 0) >> 3) & 7;
    const wide =
      code[offset - 3] === 0x66 || (((code[offset - 3] ?? 0) & 0xf0) === 0x40 && code[offset - 4] === 0x66) ? 6 : 8;
    if (code[offset - 3] === 0x0f) {
      if (opcode === 0xba || opcode === 0xa4 || opcode === 0xac) return 5;
      // lock xadd of atomic_fetch_add(), and cmpxchg16b, share their second byte with shifts and with mov $imm (which is c7 /0).
      if (opcode === 0xc0 || opcode === 0xc1 || (opcode === 0xc7 && extension !== 0)) return 4;
    }
    if (opcode === 0x80 || opcode === 0x83 || opcode === 0xc6 || opcode === 0xc0 || opcode === 0xc1 || opcode === 0x6b)
      return 5;
    if (opcode === 0x81 || opcode === 0xc7 || opcode === 0x69) return wide;
    if (opcode === 0xf6 && extension <= 1) return 5;
    if (opcode === 0xf7 && extension <= 1) return wide;
    return 4;
  },

  resolvedBranches(code: Uint8Array, start: number, end: number): ResolvedBranch[] {
    return decode(code.subarray(start, end)).flatMap(({ offset, length, branch }) => {
      if (branch === undefined || (branch.target >= 0 && branch.target < end - start)) return [];
      const type = branch.width === 4 ? R.plt32 : R.pc8;
      const field = start + offset + length - branch.width;
      return [{ offset: field, type, target: start + branch.target, addend: -branch.width }];
    });
  },

  instructions: (code) => decode(code),

  dataFlow: { calls: x86_64Calls, read: x86_64Flow, compared: x86_64Compared },
  effects: () => effectDecoder(loadedDisassembler()),
  gnuName: { little: "x86_64-linux-gnu", big: "x86_64-linux-gnu" },
  text: (code) => x86_64Text(loadedDisassembler())(code),
  operands: () => x86_64Operands(effectDecoder(loadedDisassembler())),
};

function decode(code: Uint8Array): DecodedInstruction[] {
  const { Decoder, DecoderOptions, Instruction, Mnemonic } = disassembler();
  const decoder = new Decoder(64, code, DecoderOptions.None);
  const instruction = new Instruction();
  const list: DecodedInstruction[] = [];
  try {
    while (decoder.canDecode) {
      const offset = decoder.position;
      decoder.decodeOut(instruction);
      const { mnemonic } = instruction;
      const isCounting = instruction.isJcxShort || instruction.isLoop || instruction.isLoopcc;
      const isShort = instruction.isJmpShort || instruction.isJccShort || isCounting;
      const isBranch = isShort || instruction.isJmpNear || instruction.isJccNear || instruction.isCallNear;
      list.push({
        offset,
        length: decoder.position - offset,
        branch: isBranch
          ? {
              kind: `${mnemonic}`,
              width: isShort ? 1 : 4,
              target: Number(BigInt.asIntN(64, instruction.nearBranchTarget)),
            }
          : undefined,
        isNop: mnemonic === Mnemonic.Nop,
        isTrap: mnemonic === Mnemonic.Int3,
        isEnd: mnemonic === Mnemonic.Jmp || mnemonic === Mnemonic.Ret || mnemonic === Mnemonic.Ud2,
      });
    }
  } finally {
    instruction.free();
    decoder.free();
  }
  return list;
}

/** int3 of the linker, nops of the assembler (all lengths, with any number of prefixes), and zeros of a linker that joins objects. */
function codeFillLength(code: Uint8Array): number {
  let at = 0;
  while (at < code.length) {
    const length = code[at] === 0xcc || code[at] === 0 ? 1 : nopLength(code, at);
    if (length === 0) break;
    at += length;
  }
  return at;
}

/** Length of the nop at an offset, 0 where there is none: 90, 0f 1f /0 with a memory operand; 66 and 2e may stand before. */
function nopLength(code: Uint8Array, start: number): number {
  let at = start;
  while (code[at] === 0x66 || code[at] === 0x2e) at++;
  if (code[at] === 0x90) return at + 1 - start;
  if (code[at] !== 0x0f || code[at + 1] !== 0x1f) return 0;
  const modrm = code[at + 2] ?? 0xff;
  const sib = (modrm & 7) === 4 ? 1 : 0;
  if (modrm >> 6 === 3 || (modrm & 0x38) !== 0) return 0;
  const displacement = modrm >> 6 === 1 ? 1 : modrm >> 6 === 2 ? 4 : 0;
  const end = at + 3 + sib + displacement;
  // A nop that the end of the room cuts off is none.
  return end <= code.length ? end - start : 0;
}

/**
 * `movabs $imm64, %reg` (REX.W B8+r, ten bytes) as `mov variable(%rip), %reg` (REX.W 8B /r, seven bytes) and a three-byte nop: Intel SDM volume 2, MOV
 * and NOP. Neither touches flags. The register's high bit moves from REX.B to REX.R.
 */
function loadOfVariable(code: Uint8Array, place: number): LoadInstruction | undefined {
  const start = place - 2;
  const [prefix, opcode] = [code[start], code[start + 1]];
  if (start < 0 || place + 8 > code.length || prefix === undefined || opcode === undefined) return undefined;
  if ((prefix & 0xfe) !== 0x48 || (opcode & 0xf8) !== 0xb8) return undefined;
  const rex = (prefix & 1) === 0 ? 0x48 : 0x4c;
  const operands = 0x05 | ((opcode & 7) << 3);
  const bytes = Uint8Array.from([rex, 0x8b, operands, 0, 0, 0, 0, 0x0f, 0x1f, 0x00]);
  return { start, bytes, offset: start + 3, width: 4, type: R.pc32 };
}

/** `nopl 0(%rax,%rax,1)`: stands for a static branch that is off, and for a call of ftrace that is (arch/x86/include/asm/nops.h, BYTES_NOP5). */
const fiveByteNop = [0x0f, 0x1f, 0x44, 0x00, 0x00];

function isFiveByteNop(code: Uint8Array, place: number): boolean {
  return fiveByteNop.every((byte, index) => code[place + index] === byte);
}

/** `jmp rel32`: a static branch that is on. */
const jumpOpcode = 0xe9;

/**
 * `jmp rel32` over the place, and `cmpl $0, key(%rip)`, `jne` or `je taken`, `jmp back` (Intel SDM volume 2). Displacements count from the end of their
 * instruction: four bytes behind their place, five for the comparison, which has a byte of immediate.
 */
function staticBranch(code: Uint8Array, place: number): BranchSite | undefined {
  if (place + fiveByteNop.length > code.length) return undefined;
  if (!isFiveByteNop(code, place) && code[place] !== jumpOpcode) return undefined;
  const branch = { type: R.plt32, bias: -4 };
  return {
    bytes: fiveByteNop.length,
    jump: { bytes: Uint8Array.from([jumpOpcode, 0, 0, 0, 0]), offset: 1, ...branch },
    readingKey: (isTakenWhileOff) => ({
      bytes: Uint8Array.from([
        ...[0x83, 0x3d, 0, 0, 0, 0, 0],
        ...[0x0f, isTakenWhileOff ? 0x84 : 0x85, 0, 0, 0, 0],
        ...[jumpOpcode, 0, 0, 0, 0],
      ]),
      key: { offset: 2, type: R.pc32, bias: -5 },
      taken: { offset: 9, ...branch },
      back: { offset: 14, ...branch },
    }),
  };
}

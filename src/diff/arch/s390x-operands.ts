import type { NumberLoad, OperandDecoder, OperandInstruction } from "./operands.ts";
import { signed } from "./plain-architecture.ts";

/** z/Architecture Principles of Operation, chapter 7; ELF Application Binary Interface, 1.2.3. */
export const s390xOperands: OperandDecoder = {
  parameters: [2, 3, 4, 5, 6],
  decode(code) {
    const list: OperandInstruction[] = [];
    for (let offset = 0; offset < code.length; ) {
      const length = lengthOf(code[offset] as number);
      list.push({ offset, length, ...instructionAt(code.subarray(offset, offset + length), offset) });
      offset += length;
    }
    return list;
  },
};

/** The two high bits of an instruction tell its length. */
function lengthOf(opcode: number): number {
  if (opcode < 0x40) return 2;
  return opcode < 0xc0 ? 4 : 6;
}

function instructionAt(code: Uint8Array, offset: number): Omit<OperandInstruction, "offset" | "length"> {
  const [opcode, second, third, fourth, fifth, sixth] = code as unknown as number[] as [
    ...[number, number, number, number, number, number],
  ];
  const [high, low] = [second >> 4, second & 15];
  const half = (third << 8) | fourth;
  const load = (kind: string, value: number): { load: NumberLoad; touches: []; flow: "next" } => ({
    load: { register: high, value, kind, parts: [offset] },
    touches: [],
    flow: "next",
  });
  switch (opcode) {
    case 0xa7:
      if (low === 8) return load("lhi", signed(half, 16));
      if (low === 9) return load("lghi", signed(half, 16));
      // brc with all conditions is a jump; bras, brct and brctg are not followed.
      if (low === 4) return jumpOrEnd(high, offset + signed(half, 16) * 2);
      if (low >= 5 && low <= 7) return { touches: [high], flow: "end" };
      return { touches: [high], flow: "next" };
    case 0xa5:
      if (low === 15) return load("llill", half);
      return { touches: [high], flow: "next" };
    case 0xc0: {
      const word = (half << 16) | (fifth << 8) | sixth;
      if (low === 1) return load("lgfi", word);
      if (low === 0) return { touches: [], target: high, flow: "next" };
      if (low === 4) return jumpOrEnd(high, offset + word * 2);
      if (low === 5) return { touches: [], flow: "end" };
      return { touches: [high], flow: "next" };
    }
    case 0x07:
      return { touches: [], flow: high === 0 ? "next" : "end" };
    // stm, lm, and stmg, lmg and their kin, which store or load all registers from one to another.
    case 0x90:
    case 0x98:
    case 0xeb:
      return { touches: [...rangeOf(high, low), third >> 4], flow: sixth === 0x44 || sixth === 0x45 ? "end" : "next" };
    default:
      return { touches: registersOf(code), flow: branches.has(opcode) ? "end" : "next" };
  }
}

function jumpOrEnd(mask: number, jump: number): Omit<OperandInstruction, "offset" | "length"> {
  if (mask === 0) return { touches: [], flow: "next" };
  return { touches: [], flow: mask === 15 ? { jump } : "end" };
}

/** Opcodes with which control may go elsewhere: bassm, bsm, basr, bctr, svc; bal, bct, bc, bas, bxh, bxle; brxh, brxle; ec and ed hold compare-and-branch, c6 the long one. */
const branches: ReadonlySet<number> = new Set([
  ...[0x05, 0x06, 0x0a, 0x0b, 0x0c, 0x0d],
  ...[0x44, 0x45, 0x46, 0x47, 0x4d, 0x84, 0x85, 0x86, 0x87],
  ...[0xc6, 0xc7, 0xcc, 0xec],
]);

/** Every nibble that some format has a register in. */
function registersOf(code: Uint8Array): number[] {
  const nibbles = [...code.subarray(1)].flatMap((byte, at) =>
    at === 1 || at === 3 ? [byte >> 4] : [byte >> 4, byte & 15],
  );
  // Behind the second byte, formats of two and three operands differ; the last byte of six is opcode.
  return code.length === 6 ? nibbles.slice(0, 6) : nibbles;
}

/** Register numbers from one to another; behind 15 comes 0. */
function rangeOf(first: number, last: number): number[] {
  return Array.from({ length: ((last - first + 16) & 15) + 1 }, (_, at) => (first + at) & 15);
}

import type { AddressUse, NumberLoad, OperandDecoder, OperandInstruction } from "./operands.ts";
import { signed } from "./plain-architecture.ts";

/** z/Architecture Principles of Operation, chapter 7; ELF Application Binary Interface, 1.2.3. */
export const s390xOperands: OperandDecoder = {
  parameters: [2, 3, 4, 5, 6],
  scratch: [0, 1, 2, 3, 4, 5, 14],
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
      if (low === 5) return { touches: [high], flow: "end", addresses: { goesOn: "call" } };
      if (low === 6 || low === 7) return { touches: [high], flow: "end", addresses: { goesOn: "branch" } };
      return { touches: [high], flow: "next" };
    case 0xa5:
      if (low === 15) return load("llill", half);
      return { touches: [high], flow: "next" };
    case 0xc0: {
      const word = (half << 16) | (fifth << 8) | sixth;
      if (low === 1) return load("lgfi", word);
      if (low === 0) return { touches: [], target: high, flow: "next" };
      if (low === 4) return jumpOrEnd(high, offset + word * 2);
      if (low === 5) return { touches: [], flow: "end", addresses: { goesOn: "call" } };
      return { touches: [high], flow: "next" };
    }
    case 0x07:
      return { touches: [], flow: high === 0 ? "next" : "end" };
    // stm, lm, and stmg, lmg and their kin, which store or load all registers from one to another.
    case 0x90:
    case 0x98:
    case 0xeb:
      return {
        touches: [...rangeOf(high, low), third >> 4],
        flow: sixth === 0x44 || sixth === 0x45 ? "end" : "next",
        // stm and stmg; lmg.
        ...(opcode === 0x90 || (opcode === 0xeb && sixth === 0x24) ? { writes: [] } : {}),
        ...(opcode === 0xeb && sixth === 0x04 ? { writes: rangeOf(high, low) } : {}),
      };
    case 0x0d:
      return { touches: [high, low], flow: "end", addresses: { goesOn: "call" } };
    // lgr
    case 0xb9:
      if (second === 0x04)
        return { touches: [fourth & 15], target: fourth >> 4, flow: "next", addresses: { copyOf: fourth & 15 } };
      return {
        touches: withPairs(code, registersOf(code)),
        flow: "next",
        addresses: comparedLong(second, third, fourth),
      };
    // cg, clg, sg, slg and xg, with memory.
    case 0xe3: {
      const compares = [0x20, 0x21, 0x09, 0x0b, 0x82].includes(sixth);
      const addresses = compares ? { compares: [high], isDistance: sixth === 0x09 || sixth === 0x0b } : undefined;
      // stg, sty and their kin, and the comparisons, write no register; lg writes one.
      const stores = [0x24, 0x50, 0x70, 0x72, 0x20, 0x21].includes(sixth);
      const writes = stores ? [] : sixth === 0x04 ? [high] : undefined;
      return { touches: withPairs(code, registersOf(code)), flow: sixth === 0x46 ? "end" : "next", writes, addresses };
    }
    // Compare and branch: crj, clrj, cgrj, clgrj; with a number; brxhg and brxlg are not followed.
    case 0xec: {
      const touches = registersOf(code);
      if ([0x64, 0x65, 0x76, 0x77].includes(sixth))
        return { touches, flow: "end", addresses: { goesOn: "branch", compares: [high, low] } };
      return { touches, flow: "end", ...(sixth >= 0x7c && sixth <= 0x7f ? { addresses: { goesOn: "branch" } } : {}) };
    }
    default:
      return { touches: withPairs(code, registersOf(code)), flow: branches.has(opcode) ? "end" : "next" };
  }
}

function jumpOrEnd(mask: number, jump: number): Omit<OperandInstruction, "offset" | "length"> {
  if (mask === 0) return { touches: [], flow: "next" };
  if (mask === 15) return { touches: [], flow: { jump } };
  return { touches: [], flow: "end", isConditional: true, addresses: { goesOn: "branch" } };
}

/** cgr, clgr, sgr, slgr, xgr; and those of three operands: sgrk, slgrk, xgrk. */
function comparedLong(second: number, third: number, fourth: number): AddressUse | undefined {
  const isDistance = [0x09, 0x0b, 0xe9, 0xeb].includes(second);
  if ([0x20, 0x21, 0x09, 0x0b, 0x82].includes(second)) return { compares: [fourth >> 4, fourth & 15], isDistance };
  return [0xe9, 0xeb, 0xe7].includes(second) ? { compares: [fourth & 15, third >> 4], isDistance } : undefined;
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

/** Instructions that use an even register and the odd one behind it, of which they name the first: multiplication, division, long moves and shifts. */
const pairs: ReadonlySet<number> = new Set([
  0x0e, 0x0f, 0x1c, 0x1d, 0x5c, 0x5d, 0x8c, 0x8d, 0x8e, 0x8f, 0xa8, 0xa9, 0xb2,
]);
/** The same, by the second byte of b9, and the last one of e3. */
const longPairs: ReadonlySet<number> = new Set([0x0d, 0x1d, 0x84, 0x86, 0x87, 0x8e, 0x8f, 0x96, 0x97, 0xec]);

function withPairs(code: Uint8Array, registers: readonly number[]): number[] {
  const kind = code[0] === 0xb9 ? code[1] : code[0] === 0xe3 ? code[5] : undefined;
  const isPair = pairs.has(code[0] as number) || (kind !== undefined && longPairs.has(kind));
  return isPair ? registers.flatMap((register) => [register, (register + 1) & 15]) : [...registers];
}

/** Register numbers from one to another; behind 15 comes 0. */
function rangeOf(first: number, last: number): number[] {
  return Array.from({ length: ((last - first + 16) & 15) + 1 }, (_, at) => (first + at) & 15);
}

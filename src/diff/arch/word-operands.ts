import { type DecodedWord, decodeWords, type OperandDecoder } from "./operands.ts";
import { signed } from "./plain-architecture.ts";

const field = (word: number, shift: number): number => (word >>> shift) & 31;
const count = (first: number, length: number): number[] => Array.from({ length }, (_, at) => first + at);

/** Arm Architecture Reference Manual, chapter C4; AAPCS64, 6.8. Registers that a class of instructions cannot name count as touched. */
export const aarch64Operands: OperandDecoder = {
  parameters: count(0, 8),
  scratch: count(0, 19),
  // Instructions are little-endian whatever data are.
  decode: (code) => decodeWords(code, true, aarch64Word),
};

/** Register 31 is the stack pointer or zero. */
const withoutZero = (registers: readonly number[], zero: number): number[] =>
  registers.filter((register) => register !== zero);

function aarch64Word(word: number, offset: number): DecodedWord {
  const [d, n, m, a] = [field(word, 0), field(word, 5), field(word, 16), field(word, 10)];
  const touching = (...registers: number[]): number[] => withoutZero(registers, 31);
  const wide = (word & 0x7f800000) >>> 0;
  if (wide === 0x52800000 || wide === 0x72800000) {
    const shift = ((word >>> 21) & 3) * 16;
    const part = (word >>> 5) & 0xffff;
    const kind = word >>> 31 === 0 ? "mov w" : "mov x";
    if (wide === 0x52800000)
      return {
        touches: [],
        number: { register: d, kind, value: () => (shift <= 16 ? part * 2 ** shift : undefined) },
      };
    // movk keeps the other half.
    const value = (known: number | undefined): number | undefined =>
      known !== undefined && known < 0x10000 && shift === 16 ? known + part * 0x10000 : undefined;
    return { touches: [], number: { register: d, kind, value, adds: true } };
  }
  if (word >>> 26 === 0x05) return { touches: [], flow: { jump: offset + signed(word & 0x03ffffff, 26) * 4 } };
  if (word >>> 26 === 0x25) return { touches: [], flow: "end", addresses: { goesOn: "call" } };
  // nop and other hints, barriers, system registers.
  if (word >>> 24 === 0xd5) return { touches: touching(d) };
  // cbz, tbz; b.cond, exceptions, and all branches through registers.
  if ((word & 0x7c000000) === 0x34000000 || word >>> 24 === 0x54)
    return { touches: [], flow: "end", addresses: { goesOn: "branch" } };
  if ((word & 0x7c000000) === 0x54000000)
    return (word & 0xfffffc1f) >>> 0 === 0xd63f0000
      ? { touches: [n], flow: "end", addresses: { goesOn: "call" } }
      : { touches: [], flow: "end" };
  // adr, adrp, ldr of a literal.
  if ((word & 0x1f000000) === 0x10000000 || (word & 0x3b000000) === 0x18000000) return { touches: [], target: d };
  // add and sub of a number.
  if ((word & 0x1f800000) === 0x11000000) return { touches: touching(n), target: d };
  // mov between registers.
  if ((word & 0x7fe0ffe0) === 0x2a0003e0) return { touches: touching(m), target: d, addresses: { copyOf: m } };
  // ccmp; cmp of registers, which is a subtraction without a result; and eor, whose result is tested.
  const isConditional = (word & 0x7fe00c10) === 0x7a400000;
  if (isConditional || [0x6b000000, 0x4b000000, 0x4a000000].includes(word & 0x7f200000)) {
    const addresses = { compares: touching(n, m), isDistance: isSubtraction(word) };
    return { touches: touching(d, n, m), writes: isConditional ? [] : touching(d), addresses };
  }
  // ldr and str at a distance: bit 22 is set for a load into a general register.
  if ((word & 0x3f000000) === 0x39000000)
    return (word & 0x00c00000) === 0x00400000
      ? { touches: touching(n), target: d }
      : { touches: touching(n, d), target: undefined, writes: (word & 0x00c00000) === 0 ? [] : touching(d) };
  // ldp and stp, and ldr and str whose distance changes the base: the third field is distance there.
  if ((word & 0x3e000000) === 0x28000000) {
    const base = (word & 0x00800000) === 0 ? [] : [n];
    return { touches: touching(d, n, a), writes: touching(...base, ...((word & 0x00400000) === 0 ? [] : [d, a])) };
  }
  if ((word & 0x3f200000) === 0x38000000) return { touches: touching(d, n) };
  return { touches: touching(d, n, m, a) };
}

/** True where a subtraction has a result. */
function isSubtraction(word: number): boolean {
  return (word & 0x7f200000) === 0x4b000000 || ((word & 0x7f200000) === 0x6b000000 && (word & 31) !== 31);
}

/** Power ISA, book I; 64-bit ELF V2 ABI, 2.2.3. */
export const ppc64Operands: OperandDecoder = {
  parameters: count(3, 8),
  scratch: [0, ...count(3, 10)],
  decode: (code, littleEndian) => decodeWords(code, littleEndian, ppc64Word),
};

function ppc64Word(word: number, offset: number): DecodedWord {
  const [t, a, b] = [field(word, 21), field(word, 16), field(word, 11)];
  const immediate = signed(word & 0xffff, 16);
  switch (word >>> 26) {
    case 14: // addi, and li
      if (a !== 0) return { touches: [a], target: t };
      return { touches: [], number: { register: t, kind: "li", value: () => immediate } };
    case 15: // addis, and lis
      if (a !== 0) return { touches: [a], target: t };
      return { touches: [], number: { register: t, kind: "lis", value: () => immediate * 0x10000 } };
    case 24: // ori, and nop
      if (word === 0x60000000) return { touches: [] };
      if (t !== a) return { touches: [t], target: a };
      return {
        touches: [],
        number: {
          register: a,
          kind: "lis, ori",
          value: (known) => (known !== undefined && known % 0x10000 === 0 ? known + (word & 0xffff) : undefined),
          adds: true,
        },
      };
    case 18: // b, bl
      if ((word & 3) !== 0) return { touches: [], flow: "end", addresses: { goesOn: "call" } };
      return { touches: [], flow: { jump: offset + signed(word & 0x03fffffc, 26) } };
    case 16: // bc
      return { touches: [], flow: "end", addresses: { goesOn: "branch" } };
    case 17: // sc
      return { touches: [], flow: "end" };
    case 19: // branches through registers: with a link they are calls; t tells whether they are always taken
      if ((word & 1) !== 0) return { touches: [], flow: "end", addresses: { goesOn: "call" } };
      return (t & 20) === 20
        ? { touches: [], flow: "end" }
        : { touches: [], flow: "end", addresses: { goesOn: "branch" } };
    case 31:
      return ppc64Register(word, [t, a, b]);
    case 32: // lwz
    case 58: // ld; its other forms also write the base
      return (word & 3) === 0 ? { touches: [a], target: t } : { touches: [a, t] };
    case 4: // multiply and add names four
      return { touches: [t, a, b, field(word, 6)] };
    case 56: // lq loads two
      return { touches: [t, t + 1, a] };
    case 10: // cmpli
    case 11: // cmpi
      return { touches: [a], writes: [] };
    case 36: // stw, stb, sth
    case 38:
    case 44:
      return { touches: [t, a], writes: [] };
    case 62: // std, stdu, stq
      return (word & 3) === 2 ? { touches: [t, t + 1, a] } : { touches: [t, a], writes: (word & 1) === 0 ? [] : [a] };
    default:
      return { touches: word >>> 26 >= 32 ? [t, t + ((word & 3) === 2 ? 1 : 0), a] : [t, a, b] };
  }
}

function ppc64Register(word: number, [t, a, b]: readonly [number, number, number]): DecodedWord {
  const touches = [t, a, b];
  const operation = (word >>> 1) & 0x3ff;
  // cmp, cmpl; subf, whose bit above is that of overflow.
  const isDistance = (operation & 0x1ff) === 40;
  if (operation === 0 || operation === 32 || isDistance)
    return { touches, addresses: { compares: [a, b], isDistance } };
  // xor; or of one register with itself is mr.
  if (operation === 316) return { touches, addresses: { compares: [t, b] } };
  if (operation === 444 && t === b) return { touches: [t], target: a, addresses: { copyOf: t } };
  return { touches };
}

/** LoongArch Reference Manual, volume 1; its procedure call standard. */
export const loongarch64Operands: OperandDecoder = {
  parameters: count(4, 8),
  scratch: [1, ...count(4, 17)],
  decode: (code, littleEndian) => decodeWords(code, littleEndian, loongarch64Word),
};

function loongarch64Word(word: number, offset: number): DecodedWord {
  const [d, j, k] = [field(word, 0), field(word, 5), field(word, 10)];
  const touching = (...registers: number[]): number[] => withoutZero(registers, 0);
  // One li of the assembler is any of these, by the size of the number; numbers of 31 bits look the same in all of the register.
  const kind = "li";
  const twelve = (word >>> 10) & 0xfff;
  const small = word >>> 22;
  if ((small === 0x0a || small === 0x0b) && j === 0)
    return { touches: [], number: { register: d, kind, value: () => signed(twelve, 12) } };
  if (small === 0x0a || small === 0x0b) return { touches: touching(j), target: d };
  if (small === 0x0e && j === 0) return { touches: [], number: { register: d, kind, value: () => twelve } };
  if (small === 0x0e && j === d) {
    const value = (known: number | undefined): number | undefined =>
      known !== undefined && known % 0x1000 === 0 ? known + twelve : undefined;
    return { touches: [], number: { register: d, kind, value, adds: true } };
  }
  const large = word >>> 25;
  if (large === 0x0a)
    return { touches: [], number: { register: d, kind, value: () => signed((word >>> 5) & 0xfffff, 20) * 0x1000 } };
  // pcaddi, pcalau12i, pcaddu12i, pcaddu18i.
  if (large >= 0x0c && large <= 0x0f) return { touches: [], target: d };
  const branch = word >>> 26;
  if (branch === 0x14) {
    const distance = signed(((word & 0x3ff) << 16) | ((word >>> 10) & 0xffff), 26);
    return { touches: [], flow: { jump: offset + distance * 4 } };
  }
  // jirl and bl, with the place to return to in register 1; beq, bne, blt, bge, bltu, bgeu; beqz, bnez.
  if (branch === 0x15 || (branch === 0x13 && d === 1))
    return { touches: [], flow: "end", addresses: { goesOn: "call" } };
  if (branch >= 0x16 && branch <= 0x1b)
    return { touches: [], flow: "end", addresses: { goesOn: "branch", compares: touching(j, d) } };
  if (branch >= 0x10 && branch <= 0x12) return { touches: [], flow: "end", addresses: { goesOn: "branch" } };
  if (branch === 0x13) return { touches: [], flow: "end" };
  const operation = word >>> 15;
  // or with zero is move; sub.w, sub.d, slt, sltu, xor.
  if (operation === 0x2a && k === 0) return { touches: touching(j), target: d, addresses: { copyOf: j } };
  // st.b, st.h, st.w, st.d; ld of the same.
  if (small >= 0xa4 && small <= 0xa7) return { touches: touching(d, j), writes: [] };
  if (small >= 0xa0 && small <= 0xa3) return { touches: touching(j), target: d };
  if ([0x22, 0x23, 0x24, 0x25, 0x2b].includes(operation))
    return { touches: touching(d, j, k), addresses: { compares: touching(j, k), isDistance: operation <= 0x23 } };
  return { touches: touching(d, j, k) };
}

import type { EffectDecoder } from "../diff/arch/effects.ts";

/** Bytes behind a call that are looked at. */
export const bytesBehind = 48;

/**
 * What code behind a call does with the result first: it takes it for an `address` or an index into a table, as `mov 8(%rax),%rdi` and
 * `cltq; mov 0(,%rax,8),%rdx` do, or it looks whether it is an `error` pointer (IS_ERR() of include/linux/err.h: `cmp $-4096,%rax`). Copies in other registers
 * count. The code is followed up to the next call, jump or branch; `other` stands for all that is not seen.
 */
export function firstUse({ decode, convention }: EffectDecoder, code: Uint8Array): "address" | "error" | "other" {
  const copies = new Set([convention.result]);
  for (const { offset, length, flow, bases, values, sets, changes, memory } of decode(code)) {
    const isMade =
      !clearsRegister(code.subarray(offset)) && [...bases, ...values].some((register) => copies.has(register));
    if (memory !== "none" && memory !== "address" && bases.some((register) => copies.has(register))) return "address";
    if (flow.kind !== "next") return "other";
    // test, cmp: read, and write nothing.
    if (isMade && sets.length === 0 && changes.length === 0 && memory !== "write")
      return comparesWithErrors(code.subarray(offset, offset + length)) ? "error" : "other";
    for (const register of sets) {
      if (isMade) copies.add(register);
      else copies.delete(register);
    }
    if (copies.size === 0) return "other";
  }
  return "other";
}

/** cmp of a 64-bit register with -4096, or -4095: REX.W 3d id, REX.W 81 /7 id. */
function comparesWithErrors(code: Uint8Array): boolean {
  const isCompare = code[1] === 0x3d || (code[1] === 0x81 && ((code[2] ?? 0) & 0xf8) === 0xf8);
  if (((code[0] ?? 0) & 0xf8) !== 0x48 || !isCompare) return false;
  const value = new DataView(code.buffer, code.byteOffset, code.length).getInt32(code.length - 4, true);
  return value === -4096 || value === -4095;
}

/** `xor %eax,%eax`: 31 /r with the same register twice, perhaps behind a REX prefix that makes both upper ones. */
function clearsRegister(code: Uint8Array): boolean {
  const prefix = code[0] ?? 0;
  const from = (prefix & 0xf0) === 0x40 ? 1 : 0;
  const operands = code[from + 1] ?? 0;
  const isBoth = from === 0 || ((prefix >> 2) & 1) === (prefix & 1);
  return code[from] === 0x31 && operands >= 0xc0 && ((operands >> 3) & 7) === (operands & 7) && isBoth;
}

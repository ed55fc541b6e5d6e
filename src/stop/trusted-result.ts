import type { EffectDecoder } from "../diff/arch/effects.ts";

/** Bytes behind a call that are looked at. */
export const bytesBehind = 48;

/**
 * Whether code behind a call takes the result for an address, or for an index into a table, before anything compares it: `mov 8(%rax),%rdi`, or
 * `cltq; mov 0(,%rax,8),%rdx`. Copies in other registers count. The code is followed up to the next call, jump or branch, so that what comes later is not seen.
 */
export function trustsResult({ decode, convention }: EffectDecoder, code: Uint8Array): boolean {
  const copies = new Set([convention.result]);
  for (const { offset, flow, bases, values, sets, changes, memory } of decode(code)) {
    const isMade =
      !clearsRegister(code.subarray(offset)) && [...bases, ...values].some((register) => copies.has(register));
    if (memory !== "none" && memory !== "address" && bases.some((register) => copies.has(register))) return true;
    if (flow.kind !== "next") return false;
    // test, cmp: read, and write nothing.
    if (isMade && sets.length === 0 && changes.length === 0 && memory !== "write") return false;
    for (const register of sets) {
      if (isMade) copies.add(register);
      else copies.delete(register);
    }
    if (copies.size === 0) return false;
  }
  return false;
}

/** `xor %eax,%eax`: 31 /r with the same register twice, perhaps behind a REX prefix that makes both upper ones. */
function clearsRegister(code: Uint8Array): boolean {
  const prefix = code[0] ?? 0;
  const from = (prefix & 0xf0) === 0x40 ? 1 : 0;
  const operands = code[from + 1] ?? 0;
  const isBoth = from === 0 || ((prefix >> 2) & 1) === (prefix & 1);
  return code[from] === 0x31 && operands >= 0xc0 && ((operands >> 3) & 7) === (operands & 7) && isBoth;
}

import { formatAddress } from "../elf/bytes.ts";

/** What an object's own code and data do with a function. */
export interface FunctionUses {
  /** Addresses of calls of it, and of jumps to it. */
  readonly calls: readonly number[];
  /** Places that hold its address for something else: one clause each. */
  readonly others: readonly string[];
}

/** A piece of an object at its address. */
export interface PieceAt {
  readonly name: string;
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly isCode: boolean;
}

/**
 * Finds everything in a linked x86-64 kernel that may lead to a function: calls and jumps by distance, and any four bytes of code or eight of data that hold
 * its address. Nothing is decoded, so bytes that only look like one of these count as well.
 * @param function_ its address.
 * @param isTable true for places in tables about code, which name each function.
 */
export function linkedUses(
  function_: number,
  pieces: Iterable<PieceAt>,
  isTable: (address: number) => boolean,
): FunctionUses {
  const [calls, others]: [number[], string[]] = [[], []];
  for (const { name, address, bytes, isCode } of pieces) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const low = function_ | 0;
    const other = (at: number): void => {
      if (!isTable(address + at)) others.push(`its address is in ${name} at ${formatAddress(address + at)}`);
    };
    if (!isCode) {
      // Pointers are aligned, but for those of packed structures.
      for (let at = 0; at + 8 <= bytes.length; at += 4)
        if (view.getInt32(at, true) === low && view.getInt32(at + 4, true) === -1) other(at);
      continue;
    }
    for (let at = 0; at + 4 <= bytes.length; at++) {
      const value = view.getInt32(at, true);
      if (value === low) other(at);
      else if (address + at + 4 + value === function_) {
        if (isBranchField(bytes, at)) calls.push(address + at);
        // The last zeros of the padding before the function are none.
        else if (value !== 0) other(at);
      }
    }
  }
  return { calls, others };
}

/** True for the distance of `call`, `jmp` and the jumps on conditions (Intel manual, volume 2). */
export function isBranchField(code: Uint8Array, at: number): boolean {
  const [first, second] = [code[at - 2], code[at - 1]];
  if (second === 0xe8 || second === 0xe9) return true;
  return first === 0x0f && ((second ?? 0) & 0xf0) === 0x80;
}

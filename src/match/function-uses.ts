import { specialSections } from "../diff/special-sections/special-sections.ts";
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
 * Finds everything in a linked x86-64 kernel that may lead to a function: calls and jumps by distance, operands of code with its address or the distance to
 * it, and any bytes of data that hold either. Nothing is decoded, so bytes that only look like one of these count as well.
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
      for (let at = 0; at + 4 <= bytes.length; at += 4) {
        const value = view.getInt32(at, true);
        const isPointer = value === low && at + 8 <= bytes.length && view.getInt32(at + 4, true) === -1;
        if (isPointer || address + at + value === function_) other(at);
      }
      continue;
    }
    for (let at = 0; at + 4 <= bytes.length; at++) {
      const value = view.getInt32(at, true);
      if (value === low) other(at);
      else if (address + at + 4 + value === function_) {
        if (isBranchField(bytes, at)) calls.push(address + at);
        // A distance is an operand behind a ModRM byte with mod 0 and r/m 5 (Intel manual, volume 2, table 2-2).
        else if (((bytes[at - 1] ?? 0) & 0xc7) === 0x05) other(at);
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

/** Tables whose entries are about places in the code, the start of each function among them. */
export const tablesOfCode: ReadonlySet<string> = new Set([
  ...specialSections.map(({ table }) => table),
  "__patchable_function_entries",
]);

/** True where one of the 32-bit words is one of the numbers. */
export function holdsNumber(bytes: Uint8Array, numbers: ReadonlySet<number>): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 4 <= bytes.length; at += 4) if (numbers.has(view.getUint32(at, true))) return true;
  return false;
}

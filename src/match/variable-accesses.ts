import type { Architecture } from "../diff/arch/arch.ts";

/** How code of the target reaches a variable by its address: widths in bytes. */
export interface Accesses {
  /** Of all instructions that read or write memory there. */
  readonly widths: ReadonlySet<number>;
  /** Of those that only write it. */
  readonly stores: ReadonlySet<number>;
}

/** A piece of code at its address. */
export interface CodeAt {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** Bytes that may stand between the field of a distance and the end of its instruction: an immediate operand. */
const behindField: readonly number[] = [0, 1, 2, 4];

/**
 * Finds the instructions of a linked x86-64 kernel that have the address of a variable in a 32-bit field, as a distance from their end or as a number, and
 * tells how many bytes each of them reads or writes. Fields are found first, then the functions around them are decoded from their start.
 * @param functionAt the function that holds an address.
 */
export function accessesOf(
  variable: number,
  sections: Iterable<CodeAt>,
  functionAt: (address: number) => CodeAt | undefined,
  read: NonNullable<Architecture["dataFlow"]>["read"],
): Accesses {
  const holders = new Map<number, CodeAt>();
  for (const { address, bytes } of sections) {
    for (const field of fieldsOf(variable, address, bytes)) {
      const holder = functionAt(address + field);
      if (holder !== undefined) holders.set(holder.address, holder);
    }
  }
  const [widths, stores] = [new Set<number>(), new Set<number>()];
  for (const { address, bytes } of holders.values()) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (const { memory, effect } of read(bytes, 0)) {
      if (memory?.place === undefined || memory.width === 0 || memory.place + 4 > bytes.length) continue;
      const value = view.getInt32(memory.place, true);
      const isDistance = memory.bias !== 0;
      if ((isDistance ? address + memory.place + memory.bias + value : value) !== variable) continue;
      widths.add(memory.width);
      if (effect?.kind === "store") stores.add(memory.width);
    }
  }
  return { widths, stores };
}

/** Offsets of four bytes that may lead to an address. */
function fieldsOf(variable: number, address: number, bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: number[] = [];
  const wanted = variable | 0;
  for (let field = 0; field + 4 <= bytes.length; field++) {
    const value = view.getInt32(field, true);
    // A distance counts from the end of the instruction, a few bytes behind the field.
    const beyond = wanted - ((value + address + field + 4) | 0);
    if (value === wanted || (beyond >= 0 && beyond <= 4 && behindField.includes(beyond))) found.push(field);
  }
  return found;
}

/**
 * Why a variable of that many bytes is not the one that the target's own code reaches so.
 * @returns `known` when code of the target reaches exactly as many bytes; undefined when it does not tell.
 */
export function accessProblem(size: number, { widths, stores }: Accesses): string | "known" | undefined {
  const longest = Math.max(0, ...widths);
  if (longest > size)
    return `it has ${size} bytes here, and code of the kernel reads or writes ${longest} of it at once`;
  if (widths.has(size)) return "known";
  const written = Math.max(0, ...stores);
  // Compilers narrow what they read and change, but a whole variable is written as a whole.
  return written > 0 ? `it has ${size} bytes here, and code of the kernel writes ${written} of it` : undefined;
}

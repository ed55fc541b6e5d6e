import { type Atom, type Reference, seenThrough } from "../atoms.ts";
import type { UnitObject } from "../unit-object.ts";
import { type ComparedCopy, reach, takerBackOf } from "./compared-copy.ts";

/**
 * Finds the copies whose address a function compares, on architectures that put addresses into registers before they compare them. Of an instruction that the
 * decoder does not know, the registers keep the address: one comparison too many is found rather than one too few.
 */
export function comparedRegisters(user: Atom, { arch, elf }: UnitObject, copies: ReadonlySet<Atom>): ComparedCopy[] {
  const addresses = user.references.flatMap((reference) => {
    const target = seenThrough(reference.target);
    return target.kind === "atom" && copies.has(target.atom) ? [{ reference, target }] : [];
  });
  if (addresses.length === 0) return [];
  const decoder = arch.operands();
  const code = decoder.decode(user.bytes, elf.littleEndian);
  return addresses.flatMap(({ reference, target: { atom: copy, addend } }) => {
    const isText = copy.kind === "string";
    const from = code.findIndex(
      (each) => reference.offset >= each.offset && reference.offset < each.offset + each.length,
    );
    const register = code[from]?.target;
    if (register === undefined || (isText && beginning(addend, reference, user, arch) !== 0)) return [];
    const holders = new Set([register]);
    for (const next of code.slice(from + 1, from + 1 + reach)) {
      const { compares, isDistance, copyOf, goesOn } = next.addresses ?? {};
      // A text's end less its beginning is a length.
      const isCompared = compares?.some((each) => holders.has(each)) === true && !(isText && isDistance === true);
      if (isCompared) return [{ copy, by: user.name }];
      const taker = decoder.parameters.some((each) => holders.has(each)) ? takerBackOf(user, next) : undefined;
      if (taker !== undefined && !isText) return [{ copy, by: taker }];
      // What lies behind a jump is reached from elsewhere.
      if (next.flow !== "next" && goesOn === undefined) break;
      if (goesOn === "call") for (const each of decoder.scratch) holders.delete(each);
      const isCopied = copyOf !== undefined && holders.has(copyOf);
      if (next.target !== undefined) holders.delete(next.target);
      if (next.load !== undefined) holders.delete(next.load.register);
      if (isCopied && next.target !== undefined) holders.add(next.target);
      if (holders.size === 0) break;
    }
    return [];
  });
}

/** Offset in the text that an address leads to. */
function beginning(addend: number, { offset, type }: Reference, user: Atom, arch: UnitObject["arch"]): number {
  return addend + (arch.isPcRelative(type) ? arch.instructionTail(user.bytes, offset, type) : 0);
}

import type { Atom } from "../../diff/atoms.ts";
import type { UnitObject } from "../../diff/unit-object.ts";

/** Content with zeros where the assembler had resolved a branch that becomes a relocation. */
export function withoutResolvedBranches(atom: Atom, unit: UnitObject): Uint8Array {
  if (!atom.references.some(({ implicit }) => implicit)) return atom.bytes;
  const bytes = Uint8Array.from(atom.bytes);
  for (const { offset, type, implicit } of atom.references) {
    if (!implicit) continue;
    unit.arch.relocationMask(type, unit.elf.littleEndian)?.forEach((bits, at) => {
      bytes[offset + at] = (bytes[offset + at] ?? 0) & ~bits;
    });
  }
  return bytes;
}

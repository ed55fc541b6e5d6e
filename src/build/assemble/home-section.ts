import type { Atom } from "../../diff/atoms.ts";
import { isExportPart } from "../../diff/exports.ts";
import { SectionFlag, SectionType } from "../../elf/constants.ts";

/**
 * Section of the patch module that an atom goes to. Functions all go to `.text`: the loader treats lock prefixes only there
 * (module_finalize(), arch/x86/kernel/module.c).
 * @param isPool it is a piece of a section of addresses that functions share.
 */
export function homeOf(atom: Atom, isPool: boolean): { name: string; type: number; flags: number } {
  const { section } = atom;
  const flags = section.flags & (SectionFlag.alloc | SectionFlag.write | SectionFlag.execinstr);
  if (atom.kind === "function" || /^\.text(\.|$)/.test(section.name))
    return { name: ".text", type: SectionType.progbits, flags };
  if (atom.kind === "bss") return { name: ".bss", type: SectionType.nobits, flags };
  if (isExportPart(atom)) return { name: section.name, type: section.type, flags };
  // A section of addresses that functions share, such as the TOC, keeps its name: the linker finds it by that.
  if (isPool) return { name: section.name, type: section.type, flags };
  if (atom.kind === "string" || atom.kind === "constant") return { name: ".rodata", type: SectionType.progbits, flags };
  if (/^\.rodata/.test(section.name)) return { name: ".rodata", type: SectionType.progbits, flags: SectionFlag.alloc };
  if (/^\.data/.test(section.name)) return { name: ".data", type: SectionType.progbits, flags };
  return { name: section.name, type: section.type, flags };
}

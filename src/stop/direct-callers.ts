import type { EffectDecoder } from "../diff/arch/effects.ts";
import { x86_64 } from "../diff/arch/x86-64.ts";
import { SectionFlag } from "../elf/constants.ts";
import type { KernelImage } from "../kernel/image/kernel-image.ts";
import { bytesBehind, firstUse } from "./trusted-result.ts";

/** A place in the kernel's code that calls a function. */
export interface DirectCall {
  /** Function that the place is in. */
  readonly from: string;
  /** The next instruction looks at the result, keeps it, or hands it on; false where that is not seen. */
  readonly looksAtResult: boolean;
  /** The caller takes the result for an address or an index before it compares it, or looks for an error pointer. */
  readonly firstUse: "address" | "error" | "other";
}

/**
 * Direct calls of a function of x86-64, and jumps to it, in the code of the image. The code is not decoded: an address in other bytes that happens to be that
 * of the function counts too, which one function in some hundreds has. Calls through pointers are not seen.
 * @param isGone whether the code at an address was freed after boot; its calls are left out.
 */
export function directCalls(
  image: Pick<KernelImage, "kallsyms" | "loaded" | "contentOf">,
  address: number,
  isGone: (address: number) => boolean = () => false,
): readonly DirectCall[] {
  const found: DirectCall[] = [];
  const kallsyms = image.kallsyms();
  const decoder = requireEffects();
  for (const section of image.loaded.filter(({ flags }) => (flags & SectionFlag.execinstr) !== 0)) {
    const code = image.contentOf(section);
    const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
    for (let at = 0; at + 5 <= code.length; at++) {
      const opcode = code[at];
      if (opcode !== 0xe8 && opcode !== 0xe9) continue;
      if (section.address + at + 5 + view.getInt32(at + 1, true) !== address) continue;
      const index = kallsyms.containing(section.address + at);
      if (index === undefined || isGone(section.address + at)) continue;
      const looksAtResult = opcode === 0xe9 || usesResult(code.subarray(at + 5, at + 10));
      const behind = code.subarray(at + 5, at + 5 + bytesBehind);
      const use = opcode === 0xe8 ? firstUse(decoder, behind) : "other";
      found.push({ from: kallsyms.nameOf(index), looksAtResult, firstUse: use });
    }
  }
  return found;
}

/** The disassembler for x86-64, the only architecture that has stops. */
function requireEffects(): EffectDecoder {
  const decoder = x86_64.effects?.();
  if (decoder === undefined) throw new Error("x86-64 has no decoder of effects");
  return decoder;
}

/** Whether an instruction reads the register for results: the usual ones, which compilers put behind a call (AMD64 manual, volume 3). */
function usesResult(code: Uint8Array): boolean {
  // REX prefixes choose wider or upper registers.
  const from = ((code[0] as number) & 0xf0) === 0x40 ? 1 : 0;
  const [opcode, operands = 0] = [code[from], code[from + 1]];
  switch (opcode) {
    case 0x84: // test %al,%al
    case 0x85: // test %eax,%eax
      return operands === 0xc0;
    case 0x3c: // cmp $n,%al
    case 0x3d: // cmp $n,%eax
    case 0x98: // cltq
    case 0xa8: // test $n,%al
    case 0xa9: // test $n,%eax
      return true;
    case 0x83: // cmp, and, or with a short constant
    case 0x81:
      return (operands & 0xc7) === 0xc0;
    case 0x88: // mov %al,...
    case 0x89: // mov %eax,...
    case 0x39: // cmp %eax,...
    case 0x01: // add %eax,...
    case 0x09: // or %eax,...
      return (operands & 0x38) === 0;
    case 0x63: // movslq %eax,...
    case 0x3b: // cmp ...,%eax
      return (operands & 0xc7) === 0xc0 || opcode === 0x3b;
    case 0x0f: // movzbl %al,... and movsbl
      return [0xb6, 0xb7, 0xbe, 0xbf].includes(operands) && ((code[from + 2] ?? 0) & 0xc7) === 0xc0;
    default:
      return false;
  }
}

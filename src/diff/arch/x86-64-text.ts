import type { TextInstruction } from "./arch.ts";

type Iced = typeof import("iced-x86");

/** Instructions as text, in the syntax of the GNU assembler. */
export function x86_64Text({ Decoder, DecoderOptions, Formatter, FormatterSyntax, Instruction }: Iced) {
  return (code: Uint8Array): TextInstruction[] => {
    const decoder = new Decoder(64, code, DecoderOptions.None);
    const formatter = new Formatter(FormatterSyntax.Gas);
    formatter.uppercaseHex = false;
    formatter.branchLeadingZeros = false;
    formatter.ripRelativeAddresses = true;
    const instruction = new Instruction();
    const list: TextInstruction[] = [];
    try {
      while (decoder.canDecode) {
        const offset = decoder.position;
        decoder.decodeOut(instruction);
        const isBranch = instruction.isJmpShortOrNear || instruction.isJccShortOrNear || instruction.isCallNear;
        const target = isBranch ? Number(BigInt.asIntN(64, instruction.nearBranchTarget)) : undefined;
        list.push({ offset, length: decoder.position - offset, text: formatter.format(instruction), target });
      }
    } finally {
      instruction.free();
      formatter.free();
      decoder.free();
    }
    return list;
  };
}

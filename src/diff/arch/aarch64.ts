import { Machine } from "../../elf/constants.ts";
import type { Architecture, ResolvedBranch } from "./arch.ts";
import { plainArchitecture, signed } from "./plain-architecture.ts";
import { type RelocationRule, RelocationTable } from "./relocation-rules.ts";
import { aarch64Operands } from "./word-operands.ts";

const adr = [0x60ffffe0];
const imm12 = [0x003ffc00];
const imm16 = [0x001fffe0];
const imm19 = [0x00ffffe0];

/** ELF for the Arm 64-bit Architecture, chapter 5.7: the static relocations that kernel objects hold. */
const rules: readonly RelocationRule[] = [
  { type: 0, name: "NONE", width: 0 },
  { type: 256, name: "NONE", width: 0 },
  { type: 257, name: "ABS64", width: 8 },
  { type: 258, name: "ABS32", width: 4 },
  { type: 259, name: "ABS16", width: 2 },
  { type: 260, name: "PREL64", width: 8, kind: "pc" },
  { type: 261, name: "PREL32", width: 4, kind: "pc" },
  { type: 262, name: "PREL16", width: 2, kind: "pc" },
  { type: 263, name: "MOVW_UABS_G0", width: 4, bits: imm16 },
  { type: 264, name: "MOVW_UABS_G0_NC", width: 4, bits: imm16 },
  { type: 265, name: "MOVW_UABS_G1", width: 4, bits: imm16 },
  { type: 266, name: "MOVW_UABS_G1_NC", width: 4, bits: imm16 },
  { type: 267, name: "MOVW_UABS_G2", width: 4, bits: imm16 },
  { type: 268, name: "MOVW_UABS_G2_NC", width: 4, bits: imm16 },
  { type: 269, name: "MOVW_UABS_G3", width: 4, bits: imm16 },
  { type: 270, name: "MOVW_SABS_G0", width: 4, bits: imm16 },
  { type: 271, name: "MOVW_SABS_G1", width: 4, bits: imm16 },
  { type: 272, name: "MOVW_SABS_G2", width: 4, bits: imm16 },
  { type: 273, name: "LD_PREL_LO19", width: 4, bits: imm19, kind: "short" },
  { type: 274, name: "ADR_PREL_LO21", width: 4, bits: adr, kind: "short" },
  { type: 275, name: "ADR_PREL_PG_HI21", width: 4, bits: adr, kind: "pc" },
  { type: 276, name: "ADR_PREL_PG_HI21_NC", width: 4, bits: adr, kind: "pc" },
  { type: 277, name: "ADD_ABS_LO12_NC", width: 4, bits: imm12 },
  { type: 278, name: "LDST8_ABS_LO12_NC", width: 4, bits: imm12 },
  { type: 279, name: "TSTBR14", width: 4, bits: [0x0007ffe0], kind: "short" },
  { type: 280, name: "CONDBR19", width: 4, bits: imm19, kind: "short" },
  { type: 282, name: "JUMP26", width: 4, bits: [0x03ffffff], kind: "branch" },
  { type: 283, name: "CALL26", width: 4, bits: [0x03ffffff], kind: "branch" },
  { type: 284, name: "LDST16_ABS_LO12_NC", width: 4, bits: imm12 },
  { type: 285, name: "LDST32_ABS_LO12_NC", width: 4, bits: imm12 },
  { type: 286, name: "LDST64_ABS_LO12_NC", width: 4, bits: imm12 },
  ...[287, 288, 289, 290, 291, 292, 293].map(
    (type): RelocationRule => ({ type, name: "MOVW_PREL_G*", width: 4, bits: imm16, kind: "pc" }),
  ),
  { type: 299, name: "LDST128_ABS_LO12_NC", width: 4, bits: imm12 },
  { type: 311, name: "ADR_GOT_PAGE", width: 4, bits: adr, kind: "pc" },
  { type: 312, name: "LD64_GOT_LO12_NC", width: 4, bits: imm12 },
  { type: 314, name: "PLT32", width: 4, kind: "pc" },
  { type: 315, name: "GOTPCREL32", width: 4, kind: "pc" },
];

// Instructions are little-endian whatever the data is.
const table = new RelocationTable(rules, true);

/** A64 of the Arm Architecture Reference Manual, C4.1: the classes of instructions that hold a distance. */
const distances: readonly { mask: number; value: number; type: number; distance: (word: number) => number }[] = [
  { mask: 0xfc000000, value: 0x14000000, type: 282, distance: (word) => signed(word, 26) * 4 },
  { mask: 0xfc000000, value: 0x94000000, type: 283, distance: (word) => signed(word, 26) * 4 },
  { mask: 0xff000000, value: 0x54000000, type: 280, distance: (word) => signed(word >>> 5, 19) * 4 },
  { mask: 0x7e000000, value: 0x34000000, type: 280, distance: (word) => signed(word >>> 5, 19) * 4 },
  { mask: 0x7e000000, value: 0x36000000, type: 279, distance: (word) => signed(word >>> 5, 14) * 4 },
  { mask: 0x3b000000, value: 0x18000000, type: 273, distance: (word) => signed(word >>> 5, 19) * 4 },
  {
    mask: 0x9f000000,
    value: 0x10000000,
    type: 274,
    distance: (word) => signed(((word >>> 5) & 0x7ffff) * 4 + ((word >>> 29) & 3), 21),
  },
];

export const aarch64: Architecture = {
  ...plainArchitecture(table),
  gnuName: { little: "aarch64-linux-gnu", big: "aarch64_be-linux-gnu" },
  operands: () => aarch64Operands,
  name: "aarch64",
  machine: Machine.aarch64,
  pointerType: 257,
  isMappingSymbol: (name) => /^\$[xd](\.|$)/.test(name),

  resolvedBranches(code, start, end): ResolvedBranch[] {
    const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
    const found: ResolvedBranch[] = [];
    for (let offset = (start + 3) & ~3; offset + 4 <= end; offset += 4) {
      const word = view.getUint32(offset, true);
      const form = distances.find(({ mask, value }) => (word & mask) >>> 0 === value);
      if (form === undefined) continue;
      const target = offset + form.distance(word);
      if (target < start || target >= end) found.push({ offset, type: form.type, target, addend: 0 });
    }
    return found;
  },
};

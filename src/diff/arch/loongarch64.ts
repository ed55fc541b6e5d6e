import { Machine } from "../../elf/constants.ts";
import type { Architecture, ResolvedBranch } from "./arch.ts";
import { plainArchitecture, signed } from "./plain-architecture.ts";
import { type RelocationRule, RelocationTable } from "./relocation-rules.ts";
import { loongarch64Operands } from "./word-operands.ts";

const high20 = [0x01ffffe0];
const low12 = [0x003ffc00];
const b26 = 66;
const b21 = 65;
const b16 = 64;

/** ELF psABI for LoongArch, table of relocation types: those of object files that are not made for linker relaxation. */
const rules: readonly RelocationRule[] = [
  { type: 0, name: "NONE", width: 0 },
  { type: 1, name: "32", width: 4 },
  { type: 2, name: "64", width: 8 },
  { type: 20, name: "MARK_LA", width: 0 },
  { type: 21, name: "MARK_PCREL", width: 0 },
  { type: b16, name: "B16", width: 4, bits: [0x03fffc00], kind: "short" },
  { type: b21, name: "B21", width: 4, bits: [0x03fffc1f], kind: "short" },
  { type: b26, name: "B26", width: 4, bits: [0x03ffffff], kind: "branch" },
  { type: 67, name: "ABS_HI20", width: 4, bits: high20 },
  { type: 68, name: "ABS_LO12", width: 4, bits: low12 },
  { type: 69, name: "ABS64_LO20", width: 4, bits: high20 },
  { type: 70, name: "ABS64_HI12", width: 4, bits: low12 },
  { type: 71, name: "PCALA_HI20", width: 4, bits: high20, kind: "pc" },
  { type: 72, name: "PCALA_LO12", width: 4, bits: low12 },
  { type: 73, name: "PCALA64_LO20", width: 4, bits: high20 },
  { type: 74, name: "PCALA64_HI12", width: 4, bits: low12 },
  { type: 75, name: "GOT_PC_HI20", width: 4, bits: high20, kind: "pc" },
  { type: 76, name: "GOT_PC_LO12", width: 4, bits: low12 },
  { type: 77, name: "GOT64_PC_LO20", width: 4, bits: high20 },
  { type: 78, name: "GOT64_PC_HI12", width: 4, bits: low12 },
  { type: 99, name: "32_PCREL", width: 4, kind: "pc" },
  { type: 100, name: "RELAX", width: 0 },
  { type: 102, name: "ALIGN", width: 0 },
  { type: 103, name: "PCREL20_S2", width: 4, bits: high20, kind: "pc" },
  { type: 109, name: "64_PCREL", width: 8, kind: "pc" },
  { type: 110, name: "CALL36", width: 8, bits: [0x01ffffe0, 0x03fffc00], kind: "branch" },
];

const table = new RelocationTable(rules);

export const loongarch64: Architecture = {
  ...plainArchitecture(table),
  gnuName: { little: "loongarch64-linux-gnu", big: "loongarch64-linux-gnu" },
  operands: () => loongarch64Operands,
  name: "loongarch64",
  machine: Machine.loongarch,
  pointerType: 2,

  resolvedBranches(code, start, end): ResolvedBranch[] {
    const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
    const found: ResolvedBranch[] = [];
    for (let offset = (start + 3) & ~3; offset + 4 <= end; offset += 4) {
      const word = view.getUint32(offset, true);
      const form = branchForm(word);
      if (form === undefined) continue;
      const target = offset + form.distance;
      if (target < start || target >= end) found.push({ offset, type: form.type, target, addend: 0 });
    }
    return found;
  },
};

/** LoongArch Reference Manual, volume 1, 2.2.5: the distance counts words, its low 16 bits stand before the high ones. */
function branchForm(word: number): { type: number; distance: number } | undefined {
  const opcode = word >>> 26;
  const low = (word >>> 10) & 0xffff;
  if (opcode === 0x14 || opcode === 0x15) return { type: b26, distance: signed(((word & 0x3ff) << 16) | low, 26) * 4 };
  if (opcode === 0x10 || opcode === 0x11) return { type: b21, distance: signed(((word & 0x1f) << 16) | low, 21) * 4 };
  if (opcode >= 0x16 && opcode <= 0x1b) return { type: b16, distance: signed(low, 16) * 4 };
  return undefined;
}

import { Machine } from "../../elf/constants.ts";
import type { Architecture, ResolvedBranch } from "./arch.ts";
import { entryCall, entrySite, plainArchitecture } from "./plain-architecture.ts";
import { type RelocationRule, RelocationTable } from "./relocation-rules.ts";
import { s390xOperands } from "./s390x-operands.ts";

/**
 * s390x ELF ABI supplement, chapter 2.8. Distances of the DBL types count halfwords from the start of the instruction, and their place is the
 * field in it: the addend holds the difference.
 */
const rules: readonly RelocationRule[] = [
  { type: 0, name: "NONE", width: 0 },
  { type: 1, name: "8", width: 1 },
  { type: 2, name: "12", width: 2, bits: [0x0fff] },
  { type: 3, name: "16", width: 2 },
  { type: 4, name: "32", width: 4 },
  { type: 5, name: "PC32", width: 4, kind: "pc" },
  { type: 6, name: "GOT12", width: 2, bits: [0x0fff] },
  { type: 7, name: "GOT32", width: 4 },
  { type: 8, name: "PLT32", width: 4, kind: "pc" },
  { type: 13, name: "GOTOFF32", width: 4 },
  { type: 14, name: "GOTPC", width: 4, kind: "pc" },
  { type: 15, name: "GOT16", width: 2 },
  { type: 16, name: "PC16", width: 2, kind: "pc" },
  { type: 17, name: "PC16DBL", width: 2, kind: "short", bias: -2 },
  { type: 18, name: "PLT16DBL", width: 2, kind: "short", bias: -2 },
  { type: 19, name: "PC32DBL", width: 4, kind: "pc", bias: -2 },
  { type: 20, name: "PLT32DBL", width: 4, kind: "branch", bias: -2 },
  { type: 21, name: "GOTPCDBL", width: 4, kind: "pc", bias: -2 },
  { type: 22, name: "64", width: 8 },
  { type: 23, name: "PC64", width: 8, kind: "pc" },
  { type: 24, name: "GOT64", width: 8 },
  { type: 25, name: "PLT64", width: 8, kind: "pc" },
  { type: 26, name: "GOTENT", width: 4, kind: "pc", bias: -2 },
  { type: 27, name: "GOTOFF16", width: 2 },
  { type: 28, name: "GOTOFF64", width: 8 },
  { type: 57, name: "20", width: 4, bits: [0x0fffff00] },
  { type: 58, name: "GOT20", width: 4, bits: [0x0fffff00] },
  { type: 62, name: "PC12DBL", width: 2, bits: [0x0fff], kind: "short", bias: -1 },
  { type: 63, name: "PLT12DBL", width: 2, bits: [0x0fff], kind: "short", bias: -1 },
];

const table = new RelocationTable(rules);
const pc32dbl = 19;
const pc16dbl = 17;

/** Second opcode digits of c4 and c6 (load, store, compare, execute relative long) are all relative to the instruction; of c0 and cc only these. */
const relativeLong: Readonly<Record<number, readonly number[]>> = { 192: [0, 4, 5], 204: [6] };
/** RI-b and RI-c: brc, bras, brct, brctg. */
const relativeShort: readonly number[] = [4, 5, 6, 7];
/** RIE of opcode ec: brxhg, brxlg, and the compare and branch relative instructions. */
const relativeCompare: readonly number[] = [0x44, 0x45, 0x64, 0x65, 0x76, 0x77, 0x7c, 0x7d, 0x7e, 0x7f];

export const s390x: Architecture = {
  ...plainArchitecture(table),
  gnuName: { little: "s390x-linux-gnu", big: "s390x-linux-gnu" },
  operands: () => s390xOperands,
  name: "s390x",
  machine: Machine.s390,
  pointerType: 22,
  instructionAlignment: 2,
  codeFill: 0x07,
  loaderSymbols: new Set(["_GLOBAL_OFFSET_TABLE_"]),

  isBranch(atom, { type, offset }): boolean {
    if (table.rule(type)?.kind === "branch") return true;
    // brasl and brcl (jg) with a symbol of the unit have the relocation of larl.
    return type === pc32dbl && atom.bytes[offset - 2] === 0xc0 && [4, 5].includes((atom.bytes[offset - 1] ?? 0) & 15);
  },

  ftraceEntry: (atom, sites) => entrySite(atom, sites) ?? entryCall(atom, ["__fentry__"]),

  resolvedBranches(code, start, end): ResolvedBranch[] {
    const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
    const found: ResolvedBranch[] = [];
    for (let offset = start; offset + 2 <= end; ) {
      const opcode = code[offset] as number;
      // z/Architecture Principles of Operation, "Instruction Formats": the two high bits tell the length.
      const length = opcode < 0x40 ? 2 : opcode < 0xc0 ? 4 : 6;
      if (offset + length > end) break;
      const low = (code[offset + 1] as number) & 15;
      const isLong =
        length === 6 && (opcode === 0xc4 || opcode === 0xc6 || relativeLong[opcode]?.includes(low) === true);
      const isShort =
        (opcode === 0xa7 && relativeShort.includes(low)) ||
        opcode === 0x84 ||
        opcode === 0x85 ||
        (opcode === 0xec && relativeCompare.includes(code[offset + 5] as number));
      if (isLong || isShort) {
        const target = offset + 2 * (isLong ? view.getInt32(offset + 2) : view.getInt16(offset + 2));
        // `brcl 0, .` and its like never branch: they are nops.
        if (target !== offset && (target < start || target >= end))
          found.push({ offset: offset + 2, type: isLong ? pc32dbl : pc16dbl, target, addend: 2 });
      }
      offset += length;
    }
    return found;
  },
};

import { Machine } from "../../elf/constants.ts";
import type { Atom, Reference } from "../atoms.ts";
import type { Architecture, ResolvedBranch } from "./arch.ts";
import { entryCall, entrySite, plainArchitecture, signed } from "./plain-architecture.ts";
import { type RelocationRule, RelocationTable } from "./relocation-rules.ts";
import { ppc64Operands } from "./word-operands.ts";

const half = (type: number, name: string): RelocationRule => ({ type, name, width: 2 });
/** The two low bits of a DS-form displacement are opcode. */
const doubleShift = (type: number, name: string): RelocationRule => ({ type, name, width: 2, bits: [0xfffc] });
const prefixed = (type: number, name: string): RelocationRule => ({
  type,
  name,
  width: 8,
  bits: [0x0003ffff, 0x0000ffff],
  kind: "pc",
});

/** Power Architecture 64-bit ELF V2 ABI, chapter 3.5; the numbers are those of V1 where both have them. */
const rules: readonly RelocationRule[] = [
  { type: 0, name: "NONE", width: 0 },
  { type: 1, name: "ADDR32", width: 4 },
  half(3, "ADDR16"),
  half(4, "ADDR16_LO"),
  half(5, "ADDR16_HI"),
  half(6, "ADDR16_HA"),
  { type: 10, name: "REL24", width: 4, bits: [0x03fffffc], kind: "branch" },
  { type: 11, name: "REL14", width: 4, bits: [0x0000fffc], kind: "short" },
  half(14, "GOT16"),
  half(15, "GOT16_LO"),
  half(16, "GOT16_HI"),
  half(17, "GOT16_HA"),
  { type: 26, name: "REL32", width: 4, kind: "pc" },
  { type: 38, name: "ADDR64", width: 8 },
  half(39, "ADDR16_HIGHER"),
  half(40, "ADDR16_HIGHERA"),
  half(41, "ADDR16_HIGHEST"),
  half(42, "ADDR16_HIGHESTA"),
  { type: 44, name: "REL64", width: 8, kind: "pc" },
  half(47, "TOC16"),
  half(48, "TOC16_LO"),
  half(49, "TOC16_HI"),
  half(50, "TOC16_HA"),
  { type: 51, name: "TOC", width: 8 },
  doubleShift(56, "ADDR16_DS"),
  doubleShift(57, "ADDR16_LO_DS"),
  doubleShift(58, "GOT16_DS"),
  doubleShift(59, "GOT16_LO_DS"),
  doubleShift(63, "TOC16_DS"),
  doubleShift(64, "TOC16_LO_DS"),
  { type: 116, name: "REL24_NOTOC", width: 4, bits: [0x03fffffc], kind: "branch" },
  { type: 118, name: "ENTRY", width: 0 },
  { type: 119, name: "PLTSEQ", width: 0 },
  { type: 120, name: "PLTCALL", width: 0 },
  { type: 123, name: "PCREL_OPT", width: 0 },
  prefixed(132, "PCREL34"),
  prefixed(133, "GOT_PCREL34"),
  { ...half(249, "REL16"), kind: "pc" },
  { ...half(250, "REL16_LO"), kind: "pc" },
  { ...half(251, "REL16_HI"), kind: "pc" },
  { ...half(252, "REL16_HA"), kind: "pc" },
];

const table = new RelocationTable(rules);
const rel24 = 10;
const rel14 = 11;
const tocTypes: ReadonlySet<number> = new Set([47, 48, 49, 50, 63, 64]);
/** ftrace's stub is the module's own; so is what saves registers with -Os (arch/powerpc/lib/crtsavres.S, linked into each module). */
const ownOfEachModule = /^(_mcount|_(save|rest)(gpr|fpr|vr)[01]?_\d+)$/;
const nop = 0x60000000;
const fixupEntrySize = 48;

export const ppc64: Architecture = {
  ...plainArchitecture(table),
  gnuName: { little: "powerpc64le-linux-gnu", big: "powerpc64-linux-gnu" },
  operands: () => ppc64Operands,
  name: "ppc64",
  machine: Machine.ppc64,
  pointerType: 38,
  /** `.toc` holds addresses, shared by all functions of a unit; gcc and clang order them by first use. */
  poolEntrySize: (section) => (section === ".toc" ? 8 : undefined),
  loaderSymbols: new Set([".TOC."]),

  // ELF V2 ABI, 3.4.1, STO_PPC64_LOCAL: the three high bits are a power of two of bytes; 0 and 1 mean that both entries are one.
  localEntry: (other) => ((1 << (other >> 5)) >> 2) << 2,

  ftraceEntry: (atom, sites) => entrySite(atom, sites) ?? entryCall(atom, ["_mcount"]),

  // struct fixup_entry of arch/powerpc/include/asm/feature-fixups.h: mask, value, and four distances from the start of the entry.
  tableBias: (section, offset) => (/^__(mmu_|fw_)?ftr_fixup$/.test(section) ? -(offset % fixupEntrySize) : 0),

  farProblem(atom: Atom, reference: Reference): string | undefined {
    const { target, type, offset } = reference;
    if (tocTypes.has(type)) {
      if (target.kind === "atom" && target.atom.section.name === ".toc") return undefined;
      return "computes the address from the table of contents of its own module, which is too far away: build the unit with -mcmodel=large, which keeps such addresses in .toc";
    }
    if (type !== rel24 || (target.kind === "external" && ownOfEachModule.test(target.name))) return undefined;
    // A stub of the module loader stands between them and changes r2; it writes the load that restores it over a nop behind the call.
    const { littleEndian } = byteOrderOf(atom);
    const view = new DataView(atom.bytes.buffer, atom.bytes.byteOffset, atom.bytes.byteLength);
    const word = offset + 4 <= view.byteLength ? view.getUint32(offset, littleEndian) : 0;
    if ((word & 1) === 0)
      return "jumps there without coming back (a sibling call), so nothing would restore the register r2 of its caller: build the unit with -fno-optimize-sibling-calls";
    const next = offset + 8 <= view.byteLength ? view.getUint32(offset + 4, littleEndian) : 0;
    return next === nop
      ? undefined
      : "calls it as a neighbour, without the nop behind the call that the module loader needs to restore the register r2";
  },

  resolvedBranches(code, start, end, littleEndian): ResolvedBranch[] {
    const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
    const found: ResolvedBranch[] = [];
    for (let offset = (start + 3) & ~3; offset + 4 <= end; offset += 4) {
      const word = view.getUint32(offset, littleEndian);
      const opcode = word >>> 26;
      // Power ISA, I-form and B-form; bit 30 (AA) marks absolute addresses.
      if ((opcode !== 18 && opcode !== 16) || (word & 2) !== 0) continue;
      const far = opcode === 18;
      const target = offset + (far ? signed(word & 0x03fffffc, 26) : signed(word & 0xfffc, 16));
      if (target < start || target >= end) found.push({ offset, type: far ? rel24 : rel14, target, addend: 0 });
    }
    return found;
  },
};

/** A call within reach of its relocation shows the byte order of the code: the opcode is in the first byte of a big-endian word. */
function byteOrderOf(atom: Atom): { littleEndian: boolean } {
  const call = atom.references.find(({ type }) => type === rel24);
  return { littleEndian: call === undefined || (atom.bytes[call.offset] ?? 0) >>> 2 !== 18 };
}

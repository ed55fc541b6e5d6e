import { architectureOf } from "../diff/arch/index.ts";
import type { KernelImage } from "../kernel/image/kernel-image.ts";

/** A function of the image that calls or jumps to another. */
export interface ImageCaller {
  readonly name: string;
  readonly address: number;
  /** Address of what it calls. */
  readonly to: number;
  readonly mark: "notrace" | "init" | null;
}

/** Opcodes of x86 calls and jumps with a 32-bit distance. */
const branchOpcodes: ReadonlySet<number> = new Set([0xe8, 0xe9]);

/** Code between two symbols of the kernel's link script (include/asm-generic/vmlinux.lds.h, arch/x86/kernel/vmlinux.lds.S). */
const ranges = [
  { from: "_stext", to: "_etext", mark: null },
  { from: "__init_begin", to: "__init_end", mark: "init" },
] as const;

const untraced = [
  ["__noinstr_text_start", "__noinstr_text_end"],
  ["__entry_text_start", "__entry_text_end"],
] as const;

/**
 * Functions of the kernel image with a direct call of, or jump to, one of some addresses. Each is decoded from its start, so that bytes which only look like
 * a call are none. Calls through pointers are not seen.
 */
export async function imageCallers(image: KernelImage, wanted: ReadonlySet<number>): Promise<ImageCaller[]> {
  const arch = architectureOf(image.machine);
  if (wanted.size === 0 || arch.name !== "x86_64") return [];
  await arch.loadDisassembler();
  const kallsyms = image.kallsyms();
  const addressOf = (name: string): number | undefined => {
    const [index] = kallsyms.indicesOf(name);
    return index === undefined ? undefined : kallsyms.addressOf(index);
  };
  const found = new Map<string, ImageCaller>();
  for (const range of ranges) {
    const [start, end] = [addressOf(range.from), addressOf(range.to)];
    if (start === undefined || end === undefined) continue;
    for (const piece of pieces(image, start, end)) {
      for (const place of branchesTo(piece.code, piece.address, wanted)) {
        const symbol = kallsyms.containing(place.at);
        if (symbol === undefined) continue;
        const address = kallsyms.addressOf(symbol);
        if (address === place.to) continue;
        const code = image.bytesAt(address, place.at + 5 - address);
        const decoded = code === undefined ? undefined : arch.instructions(code);
        if (decoded?.some(({ offset, branch }) => offset === place.at - address && branch !== undefined) !== true)
          continue;
        const isUntraced = untraced.some(([first, last]) => {
          const [low, high] = [addressOf(first), addressOf(last)];
          return low !== undefined && high !== undefined && address >= low && address < high;
        });
        const mark = isUntraced ? "notrace" : range.mark;
        found.set(`${address} ${place.to}`, { name: kallsyms.nameOf(symbol), address, to: place.to, mark });
      }
    }
  }
  return [...found.values()].sort((a, b) => a.address - b.address || a.to - b.to);
}

/** The parts of a range that sections of the image hold. */
function* pieces(image: KernelImage, start: number, end: number): Generator<{ address: number; code: Uint8Array }> {
  for (let at = start; at < end; ) {
    const section = image.sectionAt(at);
    if (section === undefined) {
      at += pageSize;
      continue;
    }
    const stop = Math.min(end, section.address + section.size);
    const code = image.bytesAt(at, stop - at);
    if (code !== undefined) yield { address: at, code };
    at = Math.max(stop, at + 1);
  }
}

/** Sections begin at multiples of it where others end. */
const pageSize = 4096;

function branchesTo(code: Uint8Array, address: number, wanted: ReadonlySet<number>): { at: number; to: number }[] {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  const found: { at: number; to: number }[] = [];
  for (let at = 0; at + 5 <= code.length; at++) {
    if (!branchOpcodes.has(code[at] as number)) continue;
    const to = address + at + 5 + view.getInt32(at + 1, true);
    if (wanted.has(to)) found.push({ at: address + at, to });
  }
  return found;
}

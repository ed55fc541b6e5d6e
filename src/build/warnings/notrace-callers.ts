import { formatAddress } from "../../elf/bytes.ts";
import type { KernelImage } from "../../kernel/image/kernel-image.ts";
import type { ResolvedUnit } from "../resolve/plan.ts";
import { listOf, type Warning } from "./warning.ts";

/** Code that ftrace leaves alone, between two symbols of the kernel's link script (include/asm-generic/vmlinux.lds.h). */
const untracedRanges = [
  ["__noinstr_text_start", "__noinstr_text_end"],
  ["__entry_text_start", "__entry_text_end"],
] as const;

/** Opcodes of x86 calls and jumps with a 32-bit distance. */
const branchOpcodes: ReadonlySet<number> = new Set([0xe8, 0xe9]);

/**
 * Warns of redirected functions of the kernel that entry, idle or tracing code calls. Where RCU does not watch, or within ftrace itself, the redirection
 * is passed over (kernel/livepatch/patch.c, `klp_ftrace_handler`), and the old function runs.
 */
export function notraceCallers(units: readonly ResolvedUnit[], image: KernelImage): Warning[] {
  const places = new Map<number, { name: string; unit: string }>();
  for (const { plan, redirections } of units) {
    if (plan.target.name !== "vmlinux") continue;
    for (const { address, oldName } of redirections) places.set(address, { name: oldName, unit: plan.pair.source });
  }
  const callers = new Map<number, Set<string>>();
  for (const range of places.size === 0 ? [] : untracedRanges) {
    for (const { from, to } of branchesOf(image, range)) {
      if (!places.has(to)) continue;
      const symbol = image.kallsyms().containing(from);
      const name = symbol === undefined ? formatAddress(from) : image.kallsyms().nameOf(symbol);
      callers.set(to, (callers.get(to) ?? new Set()).add(name));
    }
  }
  return [...callers].flatMap(([address, names]): Warning[] => {
    const place = places.get(address);
    if (place === undefined) return [];
    return [
      {
        code: "NOTRACE_CALLER",
        function: place.name,
        unit: place.unit,
        why: `${listOf([...names].sort())} ${names.size === 1 ? "calls" : "call"} it, and ${names.size === 1 ? "is" : "are"} code that ftrace leaves alone (entry, idle, NMI)`,
        hint: "where ftrace cannot work, the old code stays in use: both versions run concurrently as long as the patch is active",
      },
    ];
  });
}

/** Calls and jumps in the code between two symbols; some of them may be other bytes that look like one. */
function branchesOf(image: KernelImage, [start, end]: readonly [string, string]): { from: number; to: number }[] {
  const [first, last] = [start, end].map((name) => {
    const index = image.kallsyms().indicesOf(name)[0];
    return index === undefined ? undefined : image.kallsyms().addressOf(index);
  });
  const section = first === undefined ? undefined : image.sectionAt(first);
  if (first === undefined || last === undefined || section === undefined) return [];
  // The last range ends on a page boundary behind the section.
  const code = image.bytesAt(first, Math.max(0, Math.min(last, section.address + section.size) - first));
  if (code === undefined) return [];
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  const found: { from: number; to: number }[] = [];
  for (let at = 0; at + 5 <= code.length; at++) {
    if (branchOpcodes.has(code[at] as number))
      found.push({ from: first + at, to: first + at + 5 + view.getInt32(at + 1, true) });
  }
  return found;
}

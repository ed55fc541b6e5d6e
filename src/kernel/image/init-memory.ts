import type { Kallsyms } from "./kallsyms.ts";
import { compareAddresses } from "./kallsyms.ts";
import type { KernelImage } from "./kernel-image.ts";

/** A range of addresses: the first one, and the one behind the last. */
interface Range {
  readonly start: number;
  readonly end: number;
  /** One clause for a person. */
  readonly what: string;
}

/**
 * Ranges between two symbols of the linker script that the kernel frees once it has booted: free_initmem() (arch/x86/mm/init.c and mm/page_alloc.c) all
 * init memory, with the tables and replacement code of alternatives in it; alternative_instructions() the list of lock prefixes on a machine with one CPU.
 */
const freed: readonly (readonly [string, string, string])[] = [
  ["__init_begin", "__init_end", "the kernel's init memory"],
  ["_sinittext", "_einittext", "the kernel's init code"],
  ["__smp_locks", "__smp_locks_end", "the list of lock prefixes"],
];

/** Inside of init memory, and kept: on some kernels the per-CPU area has its addresses there, which stand for the copies of each CPU. */
const kept: readonly (readonly [string, string])[] = [["__per_cpu_start", "__per_cpu_end"]];

/** Marks of the linker script: code compares with their addresses and reads nothing there. */
const boundaries =
  /^(__init_(begin|end)|_[se]inittext|__(init|exit)(text|data)_(begin|end)|__smp_locks(_end)?|__per_cpu_(start|end|load))$/;

/** The memory of a kernel image that it frees after boot. kallsyms keeps the names of what was there. */
export class InitMemory {
  readonly #freed: readonly Range[];
  readonly #kept: readonly Range[];

  constructor(image: Pick<KernelImage, "kallsyms" | "sections">) {
    const { sections } = image;
    const kallsyms = image.kallsyms();
    // `.init.scratch` lies behind the end of the kernel, where memory is free from the beginning (arch/x86/kernel/vmlinux.lds.S).
    const named = sections.filter(
      ({ name, address, size }) => /^\.(init|exit)\./.test(name) && address !== 0 && size > 0,
    );
    this.#freed = [
      ...freed.flatMap(([start, end, what]) => rangeOf(kallsyms, start, end, what)),
      ...named.map(({ name, address, size }) => ({ start: address, end: address + size, what: `the section ${name}` })),
    ];
    this.#kept = kept.flatMap(([start, end]) => rangeOf(kallsyms, start, end, ""));
  }

  /**
   * What the freed memory at an address was; undefined for what stays.
   * @param name of the symbol that is meant: the marks of the linker script at the ends of the ranges are no memory.
   */
  at(address: number, name: string): string | undefined {
    const isIn = ({ start, end }: Range): boolean =>
      compareAddresses(start, address) <= 0 && compareAddresses(address, end) < 0;
    if (boundaries.test(name) || this.#kept.some(isIn)) return undefined;
    return this.#freed.find(isIn)?.what;
  }
}

function rangeOf(kallsyms: Kallsyms, from: string, to: string, what: string): Range[] {
  const [start, end] = [kallsyms.indicesOf(from)[0], kallsyms.indicesOf(to)[0]];
  if (start === undefined || end === undefined) return [];
  return [{ start: kallsyms.addressOf(start), end: kallsyms.addressOf(end), what }];
}

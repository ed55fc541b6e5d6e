import type { Atom } from "../diff/atoms.ts";
import {
  classOf,
  isFilledAfterLink,
  isPercpu,
  isReadOnlyAfterBoot,
  isSanitizerData,
} from "../diff/special-sections/section-classes.ts";

/**
 * Whether the initial content of data says what code does with it. What a step behind the compiler fills, and what only tells a person a place in the
 * source, says nothing.
 */
export function isContentMeaningful({ section }: Atom): boolean {
  return !isFilledAfterLink(section) && !isSanitizerData(section.name);
}

/** Bits of each byte of data that count; undefined where all do. */
export function meaningfulBits(atom: Atom): ((offset: number) => number) | undefined {
  return atom.section.name === "__dyndbg" ? dynamicDebugBits : undefined;
}

/**
 * `struct _ddebug` of include/linux/dynamic_debug.h, 4.19 to 6.18: four pointers, then a word with the line in its low 18 bits. Entries of one section
 * that are several hold the word at the same place of each.
 */
function dynamicDebugBits(offset: number): number {
  if (offset === 32 || offset === 33) return 0;
  return offset === 34 ? 0xfc : 0xff;
}

type Home = "init" | "per-CPU" | "read-only" | "writable" | "kept";

/** Which kind of memory a section of an object or of a linked image becomes; `kept` where that does not matter. */
function homeOf(section: string): Home {
  if (/^\.(init|exit)\./.test(section)) return "init";
  if (isPercpu(section)) return "per-CPU";
  if (isReadOnlyAfterBoot(section)) return "read-only";
  return /^\.(data|bss)(\.|$)/.test(section) ? "writable" : "kept";
}

/**
 * The difference between where the original and the target keep something: memory that is thrown away after boot, per-CPU memory, or data that cannot be
 * written, and other memory. Undefined when there is none.
 */
export function homeProblem(atom: Atom, theirSection: string): string | undefined {
  const sectionClass = classOf(atom.section);
  if (sectionClass !== "content" && sectionClass !== "init") return undefined;
  // __meminit is thrown away or kept by configuration.
  if (/^\.(meminit|memexit|head)\./.test(atom.section.name)) return undefined;
  const [ours, theirs] = [homeOf(atom.section.name), homeOf(theirSection)];
  const differs =
    (ours === "init") !== (theirs === "init") ||
    (ours === "per-CPU") !== (theirs === "per-CPU") ||
    (ours === "writable" && theirs === "read-only");
  return differs ? `${atom.name} is in ${theirSection} in the target and in ${atom.section.name} here` : undefined;
}

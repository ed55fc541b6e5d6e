import type { Kallsyms } from "./kallsyms.ts";

/**
 * What the final link made of a symbol, from its letter in nm(1), which scripts/kallsyms.c keeps: upper case for global ones, `W` and `V` (or `w` and `v`
 * without a value) for weak ones, lower case for the rest. Where the per-CPU area is linked at zero, all of its symbols get an `A` whatever they were
 * (make_percpus_absolute() there), so for these there is no answer.
 */
export function bindingOf(kallsyms: Kallsyms, index: number): "global" | "weak" | "local" | undefined {
  const letter = kallsyms.typeOf(index);
  if (letter === "A" && isPercpuOffset(kallsyms, kallsyms.addressOf(index))) return undefined;
  if (/[wv]/i.test(letter)) return "weak";
  return letter === letter.toUpperCase() || letter === "u" ? "global" : "local";
}

function isPercpuOffset(kallsyms: Kallsyms, address: number): boolean {
  const [start, end] = ["__per_cpu_start", "__per_cpu_end"].map((name) => {
    const index = kallsyms.indicesOf(name)[0];
    return index === undefined ? undefined : kallsyms.addressOf(index);
  });
  return start !== undefined && end !== undefined && address >= start && address < end;
}

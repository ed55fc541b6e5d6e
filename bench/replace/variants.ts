import { type SourceFunction, sourceFunctions } from "../../src/change/source-functions.ts";
import { sha256 } from "../../src/support/cache.ts";
import { maskedCode } from "../mutants/masked.ts";
import { patchable } from "../mutants/text-mutations.ts";

/** A way to make the compiler write another function that does the same. */
export interface Variant {
  readonly name: string;
  /** Stands before the head. */
  readonly before?: string;
  /** Stands at the start of the body. */
  readonly inside: string;
  /** Whether the head allows it. */
  readonly fits: (head: string) => boolean;
}

const isPlain = (head: string): boolean => !head.includes("SYSCALL_DEFINE");

/**
 * The first is the base, which each function can have. An empty `asm` would not do: it may leave the machine code as it is, and what is equal is not replaced.
 */
export const variants: readonly [Variant, ...Variant[]] = [
  { name: "marker", inside: ' asm volatile("nop");', fits: () => true },
  {
    // All registers that a function must give back are saved, so the frame and its ORC entries differ.
    name: "registers",
    inside: ' asm volatile("nop" : : : "rbx", "r12", "r13", "r14", "r15", "memory");',
    fits: () => true,
  },
  {
    // An array on the stack: the frame grows, and gets a canary.
    name: "frame",
    inside: ' char kmend_room[40]; asm volatile("nop" : : "r" (kmend_room) : "memory");',
    fits: () => true,
  },
  // All calls of functions of the unit are inlined where that is possible.
  { name: "inlining", before: "__attribute__((flatten)) ", inside: ' asm volatile("nop");', fits: isPlain },
  // The compiler must not inline it, nor change how it is called.
  {
    name: "apart",
    before: "noinline ",
    inside: ' asm volatile("nop");',
    fits: (head) => /^static\s/.test(head) && isPlain(head),
  },
];

/** Words of a head that say that ftrace must not or cannot redirect the function, besides those of {@link patchable}. */
const notRedirectable =
  /\b(__naked|__no_sanitize_or_inline|__no_kcsan|asmlinkage_nested|__head|__ref|__meminit|__cpuinit)\b/;

/** Functions of a C file that a patch can mark, system calls among them: these have the name of the call. */
export function markable(text: string): SourceFunction[] {
  const code = maskedCode(text);
  const plain = patchable(sourceFunctions(code)).filter(({ text: body }) => !notRedirectable.test(headOf(body)));
  const lines = code.split("\n");
  const calls = lines.flatMap((line, at) => {
    const name = /^(?:COMPAT_)?SYSCALL_DEFINE\d\(\s*(\w+)/.exec(line)?.[1];
    const open = lines.indexOf("{", at);
    const last = lines.indexOf("}", at);
    if (name === undefined || open < 0 || last < open || open - at > 8) return [];
    return [{ name, first: at + 1, last: last + 1, text: lines.slice(at, last + 1).join("\n") }];
  });
  return [...plain.filter(({ first }) => !calls.some((call) => call.first === first)), ...calls].sort(
    (a, b) => a.first - b.first,
  );
}

function headOf(text: string): string {
  return text.slice(0, text.indexOf("{"));
}

/** The variant of a function: the base for every second one, else one of the others that its head allows. */
export function chooseVariant({ name, text }: SourceFunction, unit: string, seed: string): Variant {
  const turn = Number.parseInt(sha256(seed, unit, name).slice(0, 8), 16);
  const others = variants.slice(1).filter(({ fits }) => fits(headOf(text)));
  return turn % 2 === 0 ? variants[0] : (others[(turn >> 1) % others.length] ?? variants[0]);
}

/** The text in which each of these functions has its variant; no line moves. */
export function withVariants(
  text: string,
  chosen: readonly { readonly where: SourceFunction; readonly variant: Variant }[],
): string {
  const code = maskedCode(text);
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  const insertions = chosen.flatMap(({ where, variant }) => {
    const start = starts[where.first - 1] as number;
    return [
      { at: start, added: variant.before ?? "" },
      { at: code.indexOf("{", start) + 1, added: variant.inside },
    ];
  });
  let result = "";
  let behind = 0;
  for (const { at, added } of insertions.sort((a, b) => a.at - b.at)) {
    result += text.slice(behind, at) + added;
    behind = at;
  }
  return result + text.slice(behind);
}

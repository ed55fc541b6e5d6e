import type { Offer, OptionDefinition } from "../src/cli/command.ts";
import { flagsOf, type Program } from "./programs.ts";

/** What a shell can offer at one place, besides what {@link Offer} knows. */
export type Offered = Offer | { readonly words: readonly string[] } | { readonly kernels: true };

/** What stands for values in the options' rows, and what a shell offers for it; for others it offers nothing. */
const placeholders: Readonly<Record<string, Offered>> = {
  FILE: { files: [] },
  DIR: { files: ["/"] },
  "TARBALL|DIR": { files: [".tar.gz"] },
  UPDATE: { files: [".tar.gz"] },
  RELEASE: { kernels: true },
};

/** What to offer for the value of an option; undefined when it takes none. */
export function offersOfOption(option: OptionDefinition): readonly Offered[] | undefined {
  const { value } = flagsOf(option);
  if (value === undefined) return undefined;
  const words = option.choices === undefined ? [] : [{ words: option.choices }];
  const others = Object.hasOwn(placeholders, value) ? [placeholders[value] as Offered] : [];
  return [...words, ...others];
}

/** What to offer for the operands of a command: of all of them, since a shell cannot know how many a variable one takes. */
export function offersOfOperands(program: Program): readonly Offered[] {
  return program.arguments.flatMap(({ offers }): readonly Offered[] => offers ?? [{ files: [] }]);
}

/** Short and long flag of an option. */
export function spellings(option: OptionDefinition): readonly string[] {
  const { short, long } = flagsOf(option);
  return short === undefined ? [long] : [short, long];
}

/** A text in single quotes for bash, zsh and sh. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Name of the shell function that belongs to a program. */
export function functionName(program: string): string {
  return `_${program.replaceAll("-", "_")}`;
}

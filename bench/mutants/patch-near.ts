import { type SourceFunction, sourceFunctions } from "../../src/change/source-functions.ts";
import { maskedCode } from "./masked.ts";
import { type Mutation, patchable } from "./text-mutations.ts";

/** A patch of a function near a mutation. */
export interface NearPatch {
  /** Function that it changes. */
  readonly patched: string;
  /** The mutated text with the patch. */
  readonly text: string;
  /** The new code names the offset of a member of the mutated struct. */
  readonly usesType: boolean;
}

/** One instruction that no compiler leaves out. */
const statement = 'asm volatile("nop");';

/**
 * Patches the function that a mutation is in, or one that calls it; for a variable one of its users; for a struct one that has a pointer to it.
 * @param turn chooses among several, from 0 up.
 */
export function patchNear(mutation: Mutation, turn: number): NearPatch | undefined {
  const { text, home, kind } = mutation;
  const code = maskedCode(text);
  const functions = patchable(sourceFunctions(code));
  if (kind === "struct") return patchWithMember(text, code, functions, home, turn);
  const own = functions.find(({ name }) => name === home);
  const users = functions.filter(
    (candidate) => candidate !== own && new RegExp(`\\b${home}\\b`).test(bodyText(candidate)),
  );
  const choices = [...(own === undefined ? [] : [own, own]), ...users.slice(0, 2)];
  const chosen = choices[turn % Math.max(1, choices.length)];
  if (chosen === undefined) return undefined;
  return { patched: chosen.name, text: withStatement(text, code, chosen, statement), usesType: false };
}

function patchWithMember(
  text: string,
  code: string,
  functions: readonly SourceFunction[],
  tag: string,
  turn: number,
): NearPatch | undefined {
  const member = lastMember(code, tag);
  if (member === undefined) return undefined;
  const pointers = functions.flatMap((candidate) => {
    const head = candidate.text.slice(0, candidate.text.indexOf("{"));
    const pointer = new RegExp(`struct ${tag} \\*(\\w+)[,)]`).exec(head)?.[1];
    return pointer === undefined ? [] : [{ candidate, pointer }];
  });
  const chosen = pointers[turn % Math.max(1, pointers.length)];
  if (chosen === undefined) return undefined;
  const use = `asm volatile("" : : "r" (&${chosen.pointer}->${member}));`;
  return { patched: chosen.candidate.name, text: withStatement(text, code, chosen.candidate, use), usesType: true };
}

/** Name of the last plain member of a struct. */
function lastMember(code: string, tag: string): string | undefined {
  const body = new RegExp(`struct ${tag} \\{([^{}]*)\\}`).exec(code)?.[1];
  return body === undefined ? undefined : [...body.matchAll(/\b(\w+);/g)].at(-1)?.[1];
}

function bodyText({ text }: SourceFunction): string {
  return text.slice(text.indexOf("{"));
}

/** The text with a statement at the start of a function's body, on the line of the brace. */
function withStatement(text: string, code: string, { first }: SourceFunction, added: string): string {
  let start = 0;
  for (let line = 1; line < first; line++) start = text.indexOf("\n", start) + 1;
  const at = code.indexOf("{", start) + 1;
  return `${text.slice(0, at)} ${added}${text.slice(at)}`;
}

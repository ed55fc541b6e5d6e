import type { Atom } from "../../diff/atoms.ts";

/** Something that no tool can decide, and that the author of a patch should look at. */
export interface Warning {
  readonly code:
    | "ALWAYS_ON_STACK"
    | "NOTRACE_CALLER"
    | "LOCKS_CHANGED"
    | "NEW_STATE"
    | "OLD_STATE"
    | "CONSTANT_CHANGED"
    | "INLINED"
    | "ADDRESS_KEPT"
    | "GONE_CALLBACK"
    | "MODULE_RELOAD";
  /** What it is about: a function, a variable, or a module. */
  readonly function: string;
  readonly unit: string;
  /** Source file and line of the code that it is about, where that is one place and known. */
  readonly place?: string | undefined;
  readonly why: string;
  readonly hint: string;
}

/** Names of outside functions that a function calls. */
export function callsOf(atom: Atom): string[] {
  return atom.references.flatMap(({ target }) => (target.kind === "external" ? [target.name] : []));
}

/** `a, b and 3 more`. */
export function listOf(names: readonly string[], shown = 4): string {
  const rest = names.length - shown;
  return `${names.slice(0, shown).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

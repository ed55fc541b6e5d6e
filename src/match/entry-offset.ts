import type { Atom } from "../diff/atoms.ts";

/** Bytes of a prefix (`__pfx_`, padding) before the symbol that names the atom. */
export function entryOffset(atom: Atom): number {
  return atom.symbol === undefined ? 0 : atom.symbol.value - atom.start;
}

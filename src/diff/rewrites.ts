import type { Reference } from "./atoms.ts";

/** Bytes of carried code that are not those of the patched unit, and what they refer to. */
export interface Rewrite {
  /** First byte in the atom. */
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly reference: Reference;
}

/** The code of an atom with its rewritten instructions. */
export function rewritten(bytes: Uint8Array, rewrites: readonly Rewrite[]): Uint8Array {
  if (rewrites.length === 0) return bytes;
  const copy = Uint8Array.from(bytes);
  for (const rewrite of rewrites) copy.set(rewrite.bytes, rewrite.offset);
  return copy;
}

/** True for a reference of an instruction that is replaced by another. */
export function isRewritten({ offset }: Reference, rewrites: readonly Rewrite[]): boolean {
  return rewrites.some((rewrite) => offset >= rewrite.offset && offset < rewrite.offset + rewrite.bytes.length);
}

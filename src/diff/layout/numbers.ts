import type { Btf } from "../../kernel/types/btf.ts";
import type { TypePairs } from "./same-types.ts";
import { isHarmless } from "./struct-change.ts";

/** Whether two numbers are the same to code that knows either. */
export function isSameNumber(types: TypePairs, x: number, y: number): boolean {
  return types.sameType(x, y) || isHarmless(types, x, y);
}

/** `u64`'s kind and size, for a person. */
export function numberText(btf: Btf, type: number): string {
  const number = btf.resolve(type);
  return `${btf.name(number)} (${btf.size(number)} bytes)`;
}

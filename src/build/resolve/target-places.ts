import { surroundingsOf } from "../../match/surroundings.ts";
import type { TargetObject } from "../../match/target-object.ts";
import { sha256 } from "../../support/cache.ts";

/** SHA-256 of bytes of the target, or undefined when it does not hold them. */
export function digestAt(target: TargetObject, address: number, size: number): string | undefined {
  const bytes = target.bytesAt(address, size);
  return bytes === undefined ? undefined : sha256(bytes);
}

/** SHA-256 of what relocations and tables of the target say about bytes of it. */
export function digestAround(target: TargetObject, address: number, size: number): string {
  return sha256(Buffer.from(surroundingsOf(target, address, size)));
}

/** Address of the symbol at a position, as the kernel would find it; undefined when it would not. */
export function addressOf(target: TargetObject, name: string, sympos: number): number | undefined {
  const named = target.symbolsNamed(name);
  return sympos === 0 ? (named.length === 1 ? named[0]?.address : undefined) : named[sympos - 1]?.address;
}

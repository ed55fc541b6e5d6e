import type { ChangedFile } from "./change-set.ts";
import { constantsOf, enumeratorsOf } from "./constants.ts";

/** A macro that gets the value which another one had: an object that was marked with that one looks as if it were marked with this. */
export interface ExchangedConstant {
  readonly name: string;
  readonly path: string;
  readonly value: string;
  /** The macro that had the value, and has another one now. */
  readonly from: string;
}

/**
 * Macros without arguments that take over values of each other in one file. What a kernel stores of them it stores as numbers, which nothing in its type
 * information tells apart, so only the text of the change shows it.
 */
export function exchangedConstants(
  files: readonly Pick<ChangedFile, "path" | "original" | "patched">[],
): ExchangedConstant[] {
  return files.flatMap(({ path, original, patched }) => {
    if (original === null || patched === null || !/\.[ch]$/.test(path)) return [];
    const [before, after] = [constantsOf(original), constantsOf(patched)];
    // Between enumerators of one enum the kernel's types tell; one that becomes a macro, or was one, is in no type.
    const [enumeratorsBefore, enumeratorsAfter] = [enumeratorsOf(original), enumeratorsOf(patched)];
    const written = new Set([...before.keys(), ...after.keys()]);
    for (const [name, value] of enumeratorsBefore) if (after.has(name) && !before.has(name)) before.set(name, value);
    for (const [name, value] of enumeratorsAfter) if (written.has(name) && !after.has(name)) after.set(name, value);
    const given = [...after].flatMap(([name, value]): GivenValue[] => {
      const old = before.get(name);
      return old === value ? [] : [{ name, old, value }];
    });
    const moved = given.filter(({ old }) => old !== undefined);
    return given.flatMap((one) => {
      const from = moved.find(
        (other) => other.name !== one.name && other.old === one.value && isTaken(one, other, moved),
      );
      return from === undefined ? [] : [{ name: one.name, path, value: one.value, from: from.name }];
    });
  });
}

/** A macro that is new, or has another value than before. */
interface GivenValue {
  readonly name: string;
  /** Undefined for a new one. */
  readonly old: string | undefined;
  readonly value: string;
}

/**
 * Whether a macro takes over the value of another one. Flags are told always. Plain numbers, since limits and times may have each other's values by chance, only
 * where several go round in a circle, or where a new name of a list moves the others on (`NET_NEW 2`, `NET_B` from 2 to 3).
 */
function isTaken(one: GivenValue, other: GivenValue, moved: readonly GivenValue[]): boolean {
  if (isFlag(one.value)) return true;
  if (one.old === undefined) return listOf(one.name) !== "" && listOf(one.name) === listOf(other.name);
  const seen = new Set([one.name]);
  for (let next: GivenValue | undefined = other; next !== undefined && !seen.has(next.name); ) {
    if (next.value === one.old) return true;
    seen.add(next.name);
    const value: string = next.value;
    next = moved.find(({ old }) => old === value);
  }
  return false;
}

/** What the names of a list begin with: `NET_` of `NET_NEW`. */
function listOf(name: string): string {
  return /^[A-Za-z0-9]+_/.exec(name)?.[0] ?? "";
}

function isFlag(value: string): boolean {
  return /<<|BIT|0x/i.test(value);
}

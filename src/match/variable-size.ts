import { isPadding, isReports } from "./nameless-reports.ts";
import type { TargetObject } from "./target-object.ts";

/**
 * Why a variable of the target cannot have that many bytes. Symbol tables of kernel images have no sizes: what lies between a symbol and the next one is the
 * variable and padding, or what the sanitizer reports with.
 * @param mayBeLonger it may have more than that: a struct that ends in an array without a length.
 * @returns undefined where nothing contradicts it.
 */
export function sizeProblem(
  size: number,
  address: number,
  target: TargetObject,
  mayBeLonger = false,
): string | undefined {
  if (size === 0) return undefined;
  const exact = target.sizesAt?.(address) ?? [];
  if (exact.length > 0)
    return exact.some((known) => known === size || (mayBeLonger && known > size))
      ? undefined
      : `it has ${size} bytes here, and ${exact[0]} in ${target.name}`;
  const room = target.roomAt(address);
  if (room === undefined || room <= 0) return undefined;
  if (size > room) return `it has ${size} bytes here, and ${target.name} has room for ${room}`;
  if (mayBeLonger) return undefined;
  // Between read-only things are such without a name.
  if (!/^\.(data|bss)/.test(target.sectionAt?.(address) ?? "")) return undefined;
  const padding = room - size;
  if (isPadding(padding, address + room)) return undefined;
  if (isReports(address + size, padding, target)) return undefined;
  return `it has ${size} bytes here, and in ${target.name} there are ${room} to the next one, which is more than padding`;
}

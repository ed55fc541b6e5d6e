import { readDebugEntries } from "../../elf/debug-entries.ts";
import { DebugTag } from "../../elf/debug-entry.ts";
import { DebugTypes } from "./debug-types.ts";

/** A function or variable as a unit declares it that another unit defines. */
export interface Declared {
  readonly kind: "function" | "variable";
  /** As {@link DebugTypes.meaning} writes it, with signs. */
  readonly meaning: string;
  /** As C writes it. */
  readonly text: string;
  /** Bytes of a variable, where its declaration says so. */
  readonly size: number | undefined;
}

/**
 * What a compiled unit knows of the names that it does not define, by name.
 * @returns none without debug information.
 * @throws ElfFormatError for debug information that cannot be read.
 */
export function declaredOutside(elf: Parameters<typeof readDebugEntries>[0]): Map<string, Declared> {
  const types = new DebugTypes(readDebugEntries(elf), { tellSigns: true });
  const found = new Map<string, Declared>();
  for (const entry of types.entries.values()) {
    const { name, type } = entry;
    if (name === "" || !entry.isDeclaration || entry.isStatic) continue;
    if (entry.tag === DebugTag.subprogram)
      found.set(name, {
        kind: "function",
        meaning: types.prototype(entry),
        text: types.prototypeText(entry),
        size: undefined,
      });
    else if (entry.tag === DebugTag.variable)
      found.set(name, {
        kind: "variable",
        meaning: types.meaning(type),
        text: types.text(type, name),
        size: types.size(type),
      });
  }
  return found;
}

import type { ChangedFile } from "./change-set.ts";
import { type SourceFunction, sourceFunctions, touchedFunctions } from "./source-functions.ts";

/** Whether a change touches the text of a function itself, and not only what it calls or what macros put into it. In doubt it does. */
export type OwnTextChanged = (functionName: string) => boolean;

/** Marks of code that runs at boot or at module load alone (include/linux/init.h). */
const initMark = /\b__(\w+_)?(init|exit)\b|\b__(mem|cpu|dev|net)init\b/;

/**
 * Answers for the functions of one unit. A function that runs at boot and whose text changes takes all such functions with it: the compiler puts one into
 * another.
 * @param unit source path of the unit, relative to the tree.
 */
export function ownTextChanged(files: readonly ChangedFile[], unit: string): OwnTextChanged {
  const texts = files.filter(({ path }) => /\.[ch]$/.test(path));
  const isInitTouched = texts.some((file) => touchedFunctions(file).some(({ text }) => initMark.test(headOf(text))));
  if (isInitTouched) return () => true;
  return (name) => texts.some((file) => changesIn(file, name, file.path === unit));
}

function headOf(text: string): string {
  return text.slice(0, Math.max(0, text.indexOf("{")));
}

function changesIn({ original, patched }: ChangedFile, name: string, isUnit: boolean): boolean {
  const before = definitionsOf(original, name);
  const after = definitionsOf(patched, name);
  // A macro may have made it, of which the text cannot be told.
  if (before.length === 0 && after.length === 0) return isUnit;
  return before.map(({ text }) => text).join("\n") !== after.map(({ text }) => text).join("\n");
}

function definitionsOf(content: Uint8Array | null, name: string): SourceFunction[] {
  const text = content === null ? "" : Buffer.from(content).toString("latin1");
  return text.includes(name) ? sourceFunctions(text).filter((found) => found.name === name) : [];
}

import type { ElfReader } from "../elf/reader.ts";

/**
 * Tells of what a patch changes in `.modinfo` (MODULE_ALIAS, MODULE_FIRMWARE, MODULE_DESCRIPTION and the like): depmod and modprobe read that in the files of
 * modules, which a live patch does not change.
 */
export function moduleInformationNotes(original: ElfReader, patched: ElfReader, unit: string): string[] {
  const [before, after] = [linesOf(original), linesOf(patched)];
  const added = [...after].filter((line) => !before.has(line));
  const removed = [...before].filter((line) => !after.has(line));
  if (added.length + removed.length === 0) return [];
  const said = [...added.map((line) => `+ ${line}`), ...removed.map((line) => `- ${line}`)];
  const rest = said.length > shown ? ` and ${said.length - shown} more` : "";
  return [
    `${unit}: what the files of modules say of themselves changes (${said.slice(0, shown).join("; ")}${rest}): a live patch does not change files, so depmod and modprobe go on reading the old one`,
  ];
}

/** How many lines a note names. */
const shown = 4;

function linesOf(elf: ElfReader): Set<string> {
  const data = elf.section(".modinfo")?.data ?? new Uint8Array();
  return new Set(Buffer.from(data).toString("latin1").split("\0").filter(Boolean));
}

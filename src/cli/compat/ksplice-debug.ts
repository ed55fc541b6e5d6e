import { writeFile } from "node:fs/promises";
import { readKernelLog } from "../../host/kernel/kernel-log.ts";
import { messageOf } from "../../support/errors.ts";
import { sanitiseJson, sanitiseLine } from "../../support/sanitise.ts";
import type { UpdateChangeResult } from "../../update/apply-undo.ts";
import type { OptionDefinition, OptionValues } from "../command.ts";

/** Options of the programs that change the running kernel. */
export const debugOptions: readonly OptionDefinition[] = [
  { flags: "--debug", description: "keep what the kernel says about it" },
  { flags: "--debugfile <FILE>", description: "where to keep it (default: ksplice-debug.log); implies --debug" },
];

/**
 * Keeps how a change ended, and the kernel's log, where the options ask for it.
 * @returns what a person is told about that; undefined when nothing was asked for.
 */
export async function saveDebug(options: OptionValues, result: UpdateChangeResult): Promise<string | undefined> {
  const file = options.text("debugfile") ?? (options.flag("debug") ? "ksplice-debug.log" : undefined);
  if (file === undefined) return undefined;
  const log = readKernelLog("/").map(({ text }) => sanitiseLine(text));
  return writeFile(file, `${[sanitiseJson(result), ...log].join("\n")}\n`).then(
    () => `Debugging output saved to ${file}`,
    (error: unknown) => `Debugging output cannot be saved: ${messageOf(error)}`,
  );
}

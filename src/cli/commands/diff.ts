import type { DiffResult } from "../../build/compare-objects.ts";
import { ExitCode } from "../../support/errors.ts";
import type { CommandContext, CommandDefinition } from "../command.ts";
import { formatTable } from "../terminal/table.ts";
import { oneOf } from "./package.ts";

export const diffCommand: CommandDefinition = {
  name: "diff",
  summary: "compare two builds of one object file",
  description:
    "Compares two builds of one translation unit at the level of functions and data, without a kernel tree, and can write what a patch module needs of the second one. Build both with -ffunction-sections -fdata-sections.",
  arguments: [
    { name: "ORIGINAL.o", description: "the object without the change", offers: [{ files: [".o"] }] },
    { name: "PATCHED.o", description: "the object with the change", offers: [{ files: [".o"] }] },
  ],
  options: [
    { flags: "-o, --output <FILE>", description: "write the extract: a relocatable object" },
    { flags: "--object <NAME>", description: "vmlinux or the module that the unit belongs to (default: vmlinux)" },
    {
      flags: "--symtab <FILE>",
      description: "symbols of that object: ELF, System.map, /proc/kallsyms, or the text of readelf -s --wide",
    },
    { flags: "--symvers <FILE>", description: "Module.symvers of the kernel" },
    {
      flags: "--lines <RULE>",
      description: "moved: numbers of source lines that only moved are no change; strict: they are (default: moved)",
      choices: ["moved", "strict"],
    },
  ],
  examples: [
    { command: "kmend diff a.o b.o -o extract.o --symtab System.map", description: "extract the changed functions" },
  ],
  exitCodes: {
    [ExitCode.unchanged]: "no functional change",
    [ExitCode.refused]: "the change cannot be live patched",
  },
  async run(context, operands, options) {
    const { diffObjects } = await import("../../build/diff-objects.ts");
    const result = await diffObjects({
      original: operands[0] as string,
      patched: operands[1] as string,
      output: options.text("output"),
      object: options.text("object"),
      symtab: options.text("symtab"),
      symvers: options.text("symvers"),
      lines: oneOf("lines", options.text("lines"), ["moved", "strict"]),
    });
    report(context, result);
    return exitCodes[result.outcome];
  },
};

const exitCodes: Readonly<Record<DiffResult["outcome"], ExitCode>> = {
  changed: ExitCode.done,
  unchanged: ExitCode.unchanged,
  refused: ExitCode.refused,
};

function report(context: CommandContext, result: DiffResult): void {
  if (context.json) {
    context.printJson(result);
    return;
  }
  for (const note of result.notes) context.progress.note(note);
  for (const { code, what, where, why, hint } of result.refusals) {
    context.printProblem({ kind: "refused", code, message: what, where, why, hint });
  }
  context.print(result.outcome);
  for (const { name, reason } of result.changedFunctions) context.print(`changed function: ${name}: ${reason}`);
  for (const { name, lines } of result.movedLines ?? [])
    context.print(`only lines moved: ${name}: ${describeLines(lines)}`);
  for (const name of result.newFunctions) context.print(`new function: ${name}`);
  for (const name of result.newData) context.print(`new data: ${name}`);
  const rows = result.klpRelocations.map(({ section, offset, symbol, object, sympos }) => [
    `${section}+0x${offset.toString(16)}`,
    `${object}:${symbol}`,
    `${sympos}`,
  ]);
  if (rows.length > 0) context.print("\nLivepatch relocations (place, symbol, position):");
  for (const line of formatTable(rows)) context.print(line);
}

/** `12 is now 13, 40 is now 41`. */
function describeLines(lines: NonNullable<DiffResult["movedLines"]>[number]["lines"]): string {
  return lines.map(([from, to]) => `${from} is now ${to}`).join(", ");
}

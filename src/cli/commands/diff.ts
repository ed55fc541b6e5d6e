import type { DiffResult } from "../../build/compare-objects.ts";
import type { DiffKnowledge, DiffOptions } from "../../build/diff-objects.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { optimiseLate } from "../../support/optimise-late.ts";
import { sanitiseJson } from "../../support/sanitise.ts";
import type { CommandContext, CommandDefinition } from "../command.ts";
import { saveReproOption } from "../options/repro-option.ts";
import { formatExplanation } from "../report/explanation.ts";
import { asKmendError, errorToJson } from "../report/problem.ts";
import { formatTable } from "../terminal/table.ts";
import { oneOf } from "./package.ts";

export const diffCommand: CommandDefinition = {
  name: "diff",
  summary: "compare two builds of one object file",
  description:
    "Compares two builds of one translation unit at the level of functions and data, without a kernel tree, and can write what a patch module needs of the second one. Build both with -ffunction-sections -fdata-sections. Numbers of source lines that only moved are no change.",
  arguments: [
    {
      name: "[ORIGINAL.o]",
      description: "the object without the change; left out with --batch",
      offers: [{ files: [".o"] }],
    },
    {
      name: "[PATCHED.o]",
      description: "the object with the change; left out with --batch",
      offers: [{ files: [".o"] }],
    },
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
    {
      flags: "--layouts <RULE>",
      description:
        "compare: refuse types whose layout differs, by the debug information of both objects; ignore: do not look (default: compare, with --batch ignore)",
      choices: ["compare", "ignore"],
    },
    {
      flags: "--allow-layout <TYPE>",
      description: "accept this change of a type or variable; * accepts all (repeatable)",
      repeatable: true,
    },
    {
      flags: "--explain <FUNCTION>",
      description: "show both builds of a function side by side, with the first difference",
    },
    {
      flags: "--batch <FILE>",
      description:
        "compare the pairs of a list, lines of ORIGINAL PATCHED [OUT] (- reads standard input), and print one JSON object for each",
    },
    saveReproOption,
  ],
  examples: [
    { command: "kmend diff a.o b.o -o extract.o --symtab System.map", description: "extract the changed functions" },
    { command: "kmend diff a.o b.o --explain vfs_read", description: "see where the function differs" },
    { command: "kmend diff --batch pairs.txt > results.jsonl", description: "compare many pairs in one process" },
  ],
  exitCodes: {
    [ExitCode.failure]: "an object cannot be read, or, with --batch, one of a pair",
    [ExitCode.unchanged]: "no functional change",
    [ExitCode.refused]: "the change cannot be live patched",
  },
  async run(context, operands, options) {
    optimiseLate();
    const known = {
      object: options.text("object"),
      symtab: options.text("symtab"),
      symvers: options.text("symvers"),
      lines: oneOf("lines", options.text("lines"), ["moved", "strict"]),
      layouts: oneOf("layouts", options.text("layouts"), ["compare", "ignore"]),
      allowLayout: options.list("allowLayout"),
    };
    const [batch, functionName, output] = [options.text("batch"), options.text("explain"), options.text("output")];
    const saved = options.text("saveRepro");
    const saveRepro = saved === undefined ? undefined : "--save-repro";
    if (batch !== undefined) {
      requireOnly("--batch", [...operands, output, functionName, saveRepro]);
      return runBatch(context, batch, known);
    }
    const [original, patched] = operands;
    if (original === undefined) throw usage("missing required argument 'ORIGINAL.o'");
    if (patched === undefined) throw usage("missing required argument 'PATCHED.o'");
    if (operands.length > 2) throw usage(`too many arguments: ${operands.slice(2).join(" ")}`);
    if (functionName !== undefined) {
      requireOnly("--explain", [output, known.symtab, known.symvers, saveRepro]);
      const { explain } = await import("../../build/explain/explain.ts");
      const explanation = await explain({ original, patched, functionName, lines: known.lines });
      if (context.json) context.printJson(explanation);
      else for (const line of formatExplanation(explanation, context.style)) context.print(line);
      return explanation.reason === null ? ExitCode.unchanged : ExitCode.done;
    }
    const asked = { ...known, layouts: known.layouts ?? "compare", original, patched, output } as const;
    const result = saved === undefined ? await compare(asked) : await compareAndSave(asked, saved);
    report(context, result);
    return exitCodes[result.outcome];
  },
};

async function compare(asked: DiffOptions): Promise<DiffResult> {
  const { diffObjects } = await import("../../build/diff-objects.ts");
  return diffObjects(asked);
}

/** @param folder that gets the objects, also when they cannot be compared. */
async function compareAndSave(asked: DiffOptions, folder: string): Promise<DiffResult> {
  const { requireReproFolder, saveDiffRepro } = await import("../../build/repro/save-repro.ts");
  await requireReproFolder(folder);
  try {
    const result = await compare(asked);
    await saveDiffRepro(folder, asked, { result });
    return result;
  } catch (error) {
    await saveDiffRepro(folder, asked, { error });
    throw error;
  }
}

/** Prints one line of JSON for each pair. @returns `failure` when one of them could not be compared. */
async function runBatch(context: CommandContext, path: string, known: DiffKnowledge): Promise<ExitCode> {
  const [{ diffBatch, parseBatch }, { readInput }] = await Promise.all([
    import("../../build/diff-batch.ts"),
    import("../../build/diff-objects.ts"),
  ]);
  const list = await readInput(path === "-" ? "/dev/stdin" : path);
  let exitCode: ExitCode = ExitCode.done;
  for await (const outcome of diffBatch(parseBatch(Buffer.from(list).toString("utf8"), path), known)) {
    context.signal.throwIfAborted();
    const { pair } = outcome;
    const result = "result" in outcome ? outcome.result : errorToJson(asKmendError(outcome.error));
    if (!("result" in outcome)) exitCode = ExitCode.failure;
    context.print(sanitiseJson({ pair, ...result }, 0));
  }
  return exitCode;
}

function requireOnly(option: string, others: readonly (string | undefined)[]): void {
  const other = others.find((each) => each !== undefined);
  if (other !== undefined) throw usage(`${option} does not go with ${other}`);
}

function usage(message: string): KmendError {
  return new KmendError({
    code: "USAGE",
    message,
    hint: "kmend diff --help shows what there is",
    exitCode: ExitCode.usage,
  });
}

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

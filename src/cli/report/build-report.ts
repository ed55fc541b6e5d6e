import type { BuildResult } from "../../build/build-types.ts";
import { counted } from "../../support/counted.ts";
import type { CommandContext } from "../command.ts";
import { formatTable } from "../terminal/table.ts";

/** Prints what `build` returned: the module and what it changes on standard output, refusals and notes on standard error. */
export function reportBuild(context: CommandContext, result: BuildResult): void {
  for (const note of result.notes) context.progress.note(note);
  if (context.json) {
    context.printJson(result);
    return;
  }
  for (const { code, what, where, why, hint } of result.refusals) {
    context.printProblem({ kind: "refused", code, message: what, where, why, hint });
  }
  for (const line of warningLines(result)) context.printWarning(line);
  const { style } = context;
  const summary = summaryOf(result);
  context.print(style("bold", summary));
  if (result.adapted !== undefined) for (const line of adaptedLines(result.adapted)) context.print(line);
  if (result.functions.length > 0) {
    context.print("\nFunctions:");
    const rows = result.functions.map((entry) => [
      entry.name,
      placeOf(entry),
      entry.unit,
      `${entry.change}${entry.proven ? ", proven" : ", not proven"}${entry.reason === "" ? "" : `: ${entry.reason}`}`,
    ]);
    for (const line of formatTable(rows)) context.print(line);
  }
  if (result.symbols.length > 0) {
    context.print("\nSymbols that the new code reaches:");
    const rows = result.symbols.map((symbol) => [symbol.name, placeOf(symbol), symbol.proof]);
    for (const line of formatTable(rows)) context.print(line);
  }
}

/** What was rewritten of a patch, and what that rests on. */
export function adaptedLines({ parts, assumptions }: NonNullable<BuildResult["adapted"]>): string[] {
  return [
    "\nRewritten to be live:",
    ...formatTable(parts.map(({ what, how }) => [what, how])),
    "\nThis rests on:",
    ...formatTable(assumptions.map(({ what, file, line, text }) => [what, line > 0 ? `${file}:${line}` : file, text])),
  ];
}

/** Said of a module that holds a reference on itself. */
const staysText = "stays in memory until the next boot once it was enabled: addresses of it may be kept";

/** What the author of a patch should look at, one line for each warning. */
export function warningLines({ warnings }: BuildResult): string[] {
  return warnings.map(({ function: name, unit, place, why, hint }) => `${name} (${place ?? unit}): ${why}; ${hint}`);
}

function summaryOf(result: BuildResult): string {
  const { release } = result.kernel;
  if (result.outcome === "unchanged") return `nothing to change: no code of ${release} differs with this patch`;
  if (result.outcome === "refused") {
    return `refused: ${counted(result.refusals.length, "part")} of this change cannot be live patched on ${release}`;
  }
  if (result.module === null) return `no module was made for ${release}`;
  const { path, bytes, sha256, staysInMemory } = result.module;
  const stays = staysInMemory ? `\n  ${staysText}` : "";
  return `${path}\n  for ${release}, ${Math.ceil(bytes / 1024)} KiB, sha256 ${sha256}${stays}`;
}

function placeOf(entry: { readonly object: string; readonly sympos: number }): string {
  return entry.sympos === 0 ? entry.object : `${entry.object}, no. ${entry.sympos} of that name`;
}

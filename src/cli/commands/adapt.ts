import { basename } from "node:path";
import type { AdaptResult } from "../../build/adapted/adapt-patch.ts";
import { counted } from "../../support/counted.ts";
import { ExitCode } from "../../support/errors.ts";
import type { CommandContext, CommandDefinition } from "../command.ts";
import { externalOf, externalOptions } from "../options/external-options.ts";
import { kernelNeeds, kernelOf, kernelOptions } from "../options/kernel-options.ts";
import { adaptedLines } from "../report/build-report.ts";
import { limitOptions } from "./build.ts";

export const adaptCommand: CommandDefinition = {
  name: "adapt",
  summary: "rewrite a patch that changes data structures or initial data so that it can be live patched",
  description:
    "Rewrites source patches that a build refuses for changes of data structures or initial data into one patch with the same effect: new members become shadow variables, which are created and freed with their objects; removed members and changed trace events stay as the kernel has them; new initial values are written by callbacks where all code reads them in place. Reports the assumptions that the adapted patch depends on, each with its place. Writes nothing if a part cannot be rewritten soundly.",
  arguments: [
    {
      name: "PATCH...",
      description: "unified diffs against the kernel source, applied in this order",
      offers: [{ files: [".patch", ".diff"] }],
    },
  ],
  options: [
    { flags: "-o, --output <FILE>", description: "file for the adapted patch (default: NAME-adapted.patch)" },
    ...kernelOptions,
    ...externalOptions,
    { flags: "-j, --jobs <N>", description: "number of concurrent compilers (default: all cores)", minimum: 1 },
    ...limitOptions,
    {
      flags: "--skip-gcc-check",
      description: "accept a compiler other than the kernel's (not recommended; the proof then decides)",
    },
    { flags: "--no-install", description: "never install missing packages" },
  ],
  examples: [
    { command: "kmend adapt fix.patch", description: "make fix-adapted.patch for the running kernel" },
    { command: "kmend build --adapt fix.patch", description: "adapt and build at once" },
  ],
  exitCodes: {
    [ExitCode.failure]: "failure",
    [ExitCode.unchanged]: "the patch can be live as it is",
    [ExitCode.refused]: "a part of the patch cannot be rewritten soundly",
    [ExitCode.environment]: "the environment is not ready",
  },
  async run(context, operands, options) {
    const { ensureRequirements } = await import("../../support/requirements.ts");
    const { progress, signal } = context;
    const needs = ["build", ...kernelNeeds(options)] as const;
    await ensureRequirements({ needs, install: options.flag("install"), progress, signal });
    const { adaptPatch } = await import("../../build/adapted/adapt-patch.ts");
    const result = await adaptPatch({
      patches: operands,
      ...kernelOf(options),
      ...externalOf(options),
      file: options.text("output") ?? `${basename(operands[0] ?? "", ".patch")}-adapted.patch`,
      jobs: options.integer("jobs"),
      maxUnits: options.integer("maxUnits"),
      allowLayout: options.list("allowLayout"),
      skipCompilerCheck: options.flag("skipGccCheck"),
      progress,
      signal,
    });
    reportAdaptation(context, result);
    return exitCodes[result.outcome];
  },
};

const exitCodes: Readonly<Record<AdaptResult["outcome"], ExitCode>> = {
  adapted: ExitCode.done,
  unchanged: ExitCode.unchanged,
  refused: ExitCode.refused,
};

function reportAdaptation(context: CommandContext, result: AdaptResult): void {
  for (const note of result.notes) context.progress.note(note);
  if (context.json) {
    context.printJson(result);
    return;
  }
  for (const { code, what, where, why, hint } of result.refusals)
    context.printProblem({ kind: "refused", code, message: what, where, why, hint });
  const { release } = result.kernel;
  if (result.outcome === "unchanged") context.print(`nothing to adapt: the patch can be live on ${release} as it is`);
  else if (result.patch === null)
    context.print(
      `refused: ${counted(result.refusals.length, "part")} of this change cannot be rewritten for ${release}`,
    );
  else {
    context.print(context.style("bold", `${result.patch.path}\n  for ${release}, sha256 ${result.patch.sha256}`));
    for (const line of adaptedLines(result)) context.print(line);
  }
}

import { ExitCode } from "../../support/errors.ts";
import type { CreateResult } from "../../update/create-update.ts";
import type { CommandContext, CommandDefinition, OptionValues } from "../command.ts";
import { createOptions, createRequest, createWords } from "../options/create-options.ts";
import {
  type ReportSink,
  reportOption,
  reportSink,
  requireReportFolder,
  writeReports,
} from "../options/report-options.ts";
import { reportBuild } from "../report/build-report.ts";

export const createCommand: CommandDefinition = {
  name: "create",
  summary: "make an update from a kernel source tree, like ksplice-create",
  description:
    "Makes ksplice-ID.tar.gz: the patch, the proven patch module, and a manifest with the digest of every file. The source tree and its git repository are only read.",
  arguments: [{ name: "KERNEL_SOURCE", description: "source tree of the running kernel", offers: [{ files: ["/"] }] }],
  options: [...createOptions, reportOption, { flags: "--no-install", description: "never install missing packages" }],
  examples: [
    { command: "kmend create --patch=fix.patch ~/linux", description: "make an update from a patch" },
    {
      command: "kmend create --git=fixed --series ~/linux",
      description: "make an update from a commit, on top of the last update",
    },
  ],
  exitCodes: {
    [ExitCode.failure]: "failure",
    [ExitCode.unchanged]: "nothing that this kernel builds is changed",
    [ExitCode.refused]: "the change cannot be live patched, or cannot be proven",
    [ExitCode.environment]: "the environment is not ready",
  },
  async run(context, operands, options) {
    const page = options.text("report");
    await requireReportFolder(page);
    const sink = reportSink({ kind: "update", files: [] }, page !== undefined, {
      words: () => ["kmend", "create", ...createWords(options), "TREE"],
      isWhole: true,
      written: (module) => module.replace(/\.ko$/, ".tar.gz"),
    });
    const result = await runCreate("kmend create", context, operands[0] as string, options, sink.build);
    await writeReports(context, page, sink.reports);
    reportCreate(context, result);
    if (result.outcome === "refused") return ExitCode.refused;
    return result.outcome === "unchanged" ? ExitCode.unchanged : ExitCode.done;
  },
};

/** Checks the requirements and makes the update; shared with `ksplice-create`. */
export async function runCreate(
  program: string,
  { progress, signal }: Pick<CommandContext, "progress" | "signal">,
  source: string,
  options: OptionValues,
  further: ReportSink["build"] = {},
): Promise<CreateResult> {
  const request = createRequest(program, source, options);
  const { ensureRequirements } = await import("../../support/requirements.ts");
  await ensureRequirements({ needs: ["build"], install: options.flag("install"), progress, signal });
  const { createUpdate } = await import("../../update/create-update.ts");
  return createUpdate({ ...request, ...further, progress, signal });
}

function reportCreate(context: CommandContext, result: CreateResult): void {
  if (context.json) {
    context.printJson(result);
    return;
  }
  for (const note of result.notes) context.progress.note(note);
  if (result.build !== null) reportBuild(context, result.build);
  for (const line of createLines(result)) context.print(line);
}

/** What a person is told at the end. */
export function createLines({ outcome, update }: CreateResult): string[] {
  switch (outcome) {
    case "created":
      return update === null ? [] : [`Ksplice update tarball written to ${update.path.replace(/^\.\//, "")}`];
    case "prebuilt":
      return ["The original source is compiled as far as later updates need it."];
    case "forgotten":
      return ["The present state of the source is the original from now on."];
    default:
      return [];
  }
}

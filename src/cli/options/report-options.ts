import type { BuildFacts } from "../../build/build-facts.ts";
import type { Asking } from "../../report/repetition.ts";
import type { ReviewReport } from "../../report/report-types.ts";
import type { TryResult } from "../../vm/try-types.ts";
import type { CommandContext, OptionDefinition } from "../command.ts";

/** For the commands that build or try a patch module. */
export const reportOption: OptionDefinition = {
  flags: "--report <FILE>",
  description: "write the review report: an HTML page that shows what the module does, and why it may be trusted",
};

/** Collects the reports of what a command builds. */
export interface ReportSink {
  /** For the options of a build; empty when no report is wanted. */
  readonly build: { readonly onFacts?: (facts: BuildFacts) => Promise<void> };
  /** One for each build, in their order. */
  readonly reports: ReviewReport[];
}

/**
 * Nothing of the report is loaded unless it is wanted.
 * @param subject its files are those that were given to the command; none where only the build knows them.
 * @param asking how the command asks for the build, where it is not `kmend build` with patch files.
 */
export function reportSink(
  subject: { readonly kind: ReviewReport["subject"]["kind"]; readonly files: readonly string[] },
  isWanted: boolean,
  asking?: Asking,
): ReportSink {
  const reports: ReviewReport[] = [];
  if (!isWanted) return { build: {}, reports };
  const onFacts = async (facts: BuildFacts): Promise<void> => {
    const { collectBuildReport } = await import("../../report/collect-build.ts");
    const patches = facts.session.change.patches.map(({ name }) => name);
    const files = (subject.files.length > 0 ? subject.files : patches).map(baseNameOf);
    reports.push(await collectBuildReport(facts, { kind: subject.kind, files }, asking));
  };
  return { build: { onFacts }, reports };
}

/** Fails early where the page could not be written, or would take the place of a file that the command reads. */
export async function requireReportFolder(file: string | undefined, inputs: readonly string[] = []): Promise<void> {
  if (file === undefined) return;
  const { dirname } = await import("node:path");
  const { requireOutputFile, requireOutputFolder } = await import("../../support/output-folder.ts");
  await requireOutputFolder(dirname(await requireOutputFile(file, inputs)));
}

/**
 * Writes the pages of reports, and tells where they are: the first at `file`, further ones with a number before the ending.
 * @param tried the trial of the module.
 */
export async function writeReports(
  context: CommandContext,
  file: string | undefined,
  reports: readonly ReviewReport[],
  tried?: TryResult,
): Promise<void> {
  if (file === undefined) return;
  if (reports.length === 0) context.progress.note("no review report was written: nothing was built or read");
  const { renderReport } = await import("../../report/page/document.tsx");
  const { withTrial } = await import("../../report/collect-build.ts");
  for (const [index, report] of reports.entries()) {
    const path = index === 0 ? file : file.replace(/(\.[^./]*)?$/, `-${index + 1}$1`);
    await writePage(context, path, renderReport(tried === undefined ? report : withTrial(report, tried)));
  }
}

/** Writes a page whole, or not at all. */
export async function writePage(context: CommandContext, path: string, html: string): Promise<void> {
  const { writeOutputFile } = await import("../../support/output-folder.ts");
  await writeOutputFile(path, html);
  context.progress.note(`review report: ${path}`);
}

/** The last part of a path. */
export function baseNameOf(path: string): string {
  return path.replace(/^.*\//, "");
}

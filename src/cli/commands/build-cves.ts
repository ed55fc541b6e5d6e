import type { CveBuildResult } from "../../cve/build-cves.ts";
import type { ChosenFix } from "../../cve/chosen-fixes.ts";
import type { ExitCode } from "../../support/errors.ts";
import type { CommandContext, OptionValues } from "../command.ts";
import { buildExitCodes, requestOf } from "../options/build-request.ts";
import {
  type CveSubject,
  cveFilterOf,
  cveSubject,
  fixSourceOf,
  knownHere,
  openRecords,
} from "../options/cve-options.ts";
import { kernelNeeds } from "../options/kernel-options.ts";
import { type ReportSink, reportSink, requireReportFolder, writeReports } from "../options/report-options.ts";
import { usageError } from "../options/usage.ts";
import { reportBuild } from "../report/build-report.ts";
import { cveOutcomeLines } from "../report/cve-report.ts";

/** `kmend build --cve` and `--all-cves`: from numbers to one module. */
export async function buildByCve(
  context: CommandContext,
  operands: readonly string[],
  options: OptionValues,
): Promise<ExitCode> {
  const page = options.text("report");
  await requireReportFolder(page);
  const sink = reportSink({ kind: "patch", files: [] }, page !== undefined, {
    // Those of all fixes that came into one module, by whatever option they were found.
    words: ({ session }) => [
      ...["kmend", "build", ...(session.options.cves ?? []).flatMap((id) => ["--cve", id])],
      ...options.list("with").flatMap((commit) => ["--with", commit]),
    ],
  });
  const result = await buildOf(context, operands, options, sink.build);
  // Fixes are tried before and beside: the page is that of the module which came of it.
  const own = sink.reports.findLast(({ verdict }) => verdict.module?.sha256 === result.module?.sha256);
  await writeReports(context, page, own === undefined ? sink.reports.slice(-1) : [own]);
  reportBuild(context, result);
  if (!context.json) for (const line of ["", ...cveOutcomeLines(result.cves, context.style)]) context.print(line);
  return buildExitCodes[result.outcome];
}

async function buildOf(
  context: CommandContext,
  operands: readonly string[],
  options: OptionValues,
  further: ReportSink["build"],
): Promise<CveBuildResult> {
  const all = options.flag("allCves");
  const ids = options.list("cve");
  if (operands.length > 0) throw usageError("kmend build", "patches do not go with --cve and --all-cves");
  if (options.list("fixes").length > 0)
    throw usageError("kmend build", "--fixes names what patch files fix; --cve and --all-cves say so themselves");
  if (all && ids.length > 0) throw usageError("kmend build", "--cve and --all-cves exclude each other");
  await requireIds(ids);
  const { ensureRequirements } = await import("../../support/requirements.ts");
  const { requireOutputFolder } = await import("../../support/output-folder.ts");
  const { progress, signal } = context;
  const needs = ["build", "cve", ...kernelNeeds(options)] as const;
  await ensureRequirements({ needs, install: options.flag("install"), progress, signal });
  await requireOutputFolder(options.text("output") ?? ".");
  const source = await fixSourceOf(options, signal);
  const { requireCommitName } = await import("../../cve/fix-patch.ts");
  const commits = options.list("with").map(requireCommitName);
  const subject = await cveSubject(context, options, await openRecords(context, options));
  const { fixesOf } = await import("../../cve/chosen-fixes.ts");
  const { withTree } = await import("../../cve/built-files.ts");
  const { buildAllThatCanBe, buildFixes } = await import("../../cve/build-cves.ts");
  const { kernel, version } = subject;
  const fixes = all
    ? await openFixes(context, subject, options)
    : fixesOf(ids, subject.data, version, subject.changelog);
  return withTree(
    kernel,
    { skipCompilerCheck: options.flag("skipGccCheck"), jobs: options.integer("jobs"), progress, signal },
    ({ tree }) => {
      const request = {
        ...{ kernel, version: version.text, tree, source, with: commits, progress, signal },
        options: { ...requestOf(context, options, options.text("output")), ...further },
      };
      return all ? buildAllThatCanBe(fixes, request) : buildFixes(fixes, request);
    },
  );
}

/** The fixes of all that is open and has a commit. */
async function openFixes(
  context: CommandContext,
  { kernel, version, data, changelog }: CveSubject,
  options: OptionValues,
): Promise<ChosenFix[]> {
  const { filesNotBuilt } = await import("../../cve/built-files.ts");
  const { fixesOf } = await import("../../cve/chosen-fixes.ts");
  const { exposedRecords, statesOf } = await import("../../cve/kernel-cves.ts");
  const exposed = exposedRecords(data, version, await cveFilterOf(options));
  const files = exposed.flatMap(({ record }) => record.files);
  const notBuilt = await filesNotBuilt(kernel, files, context);
  // A cumulative module takes the place of what is active: its fixes are built again.
  const known = { version, changelog, ...(await knownHere(kernel.release)) };
  const states = statesOf(exposed, known, notBuilt);
  const wanted = states.filter(({ state }) => state === "open" || state === "in force" || state === "installed");
  for (const { id, commit } of wanted)
    if (commit === null)
      context.progress.note(`${id}: the records do not say which commit fixes it in ${version.series}`);
  return fixesOf(
    wanted.flatMap(({ id, commit }) => (commit === null ? [] : [id])),
    data,
    version,
    changelog,
  );
}

/** @throws KmendError `USAGE` (exit 2) */
async function requireIds(ids: readonly string[]): Promise<void> {
  const { cveIdPattern } = await import("../../support/cve-id.ts");
  const wrong = ids.find((id) => !cveIdPattern.test(id));
  if (wrong === undefined) return;
  throw usageError("kmend build", `${JSON.stringify(wrong)} is not the number of a vulnerability (CVE-YEAR-NUMBER)`);
}

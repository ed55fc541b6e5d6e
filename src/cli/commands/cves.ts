import type { CveOutcome } from "../../cve/build-cves.ts";
import type { CveCoverage, CvePlan } from "../../cve/coverage.ts";
import type { KernelCve } from "../../cve/kernel-cves.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import type { CommandContext, CommandDefinition, OptionValues } from "../command.ts";
import { requestOf } from "../options/build-request.ts";
import {
  type CveSubject,
  cveDataOption,
  cveFilterOf,
  cveFilterOptions,
  cveSubject,
  fixSourceOf,
  fixSourceOptions,
  knownHere,
  openRecords,
} from "../options/cve-options.ts";
import { kernelNeeds, kernelOptions } from "../options/kernel-options.ts";
import { usageError } from "../options/usage.ts";
import { cveLines } from "../report/cve-report.ts";
import { limitOptions } from "./build.ts";

export const cvesCommand: CommandDefinition = {
  name: "cves",
  summary: "list the vulnerabilities of a kernel, and what can be done about them",
  description:
    "Lists every vulnerability that the kernel's CNA says was fixed after this kernel's version in its series, and how it stands here: in force (an active patch module names it), installed, not in this configuration (nothing of it is built), fixed (the distribution says so), open, or without a fix in this series.",
  arguments: [],
  options: [
    ...kernelOptions,
    cveDataOption,
    { flags: "--update", description: "fetch the records again, if they have changed" },
    ...cveFilterOptions,
    {
      flags: "--file <PATH>",
      description: "only those whose fix changes this source file, or a file below this folder (repeatable)",
      repeatable: true,
    },
    { flags: "--plan", description: "build the fix of each open one, and tell which can be closed" },
    ...fixSourceOptions,
    { flags: "--report <DIR>", description: "write the coverage as coverage.md, coverage.json and coverage.html" },
    { flags: "-j, --jobs <N>", description: "compilers at once (default: all cores)", minimum: 1 },
    ...limitOptions,
    { flags: "--skip-gcc-check", description: "accept another compiler than the kernel's (the proof then decides)" },
    { flags: "--no-install", description: "never install missing packages" },
  ],
  examples: [
    { command: "kmend cves --update", description: "fetch the records, and list what concerns the running kernel" },
    {
      command: "kmend cves --kernel newest --min-cvss 7 --plan --git ~/linux-stable",
      description: "which of the serious ones can be closed",
    },
  ],
  exitCodes: { [ExitCode.environment]: "the environment is not ready, or there are no records yet" },
  async run(context, _operands, options) {
    const { ensureRequirements } = await import("../../support/requirements.ts");
    const { progress, signal } = context;
    const install = options.flag("install");
    const isOnline = options.flag("update") || /^\w+:\/\//.test(options.text("cveData") ?? "") || options.flag("plan");
    const needs = ["build", ...kernelNeeds(options), ...(isOnline ? (["cve"] as const) : [])] as const;
    await ensureRequirements({ needs, install, progress, signal });
    const subject = await subjectOf(context, options);
    if (subject === undefined) return ExitCode.done;
    const result = await cvesOf(context, subject, options);
    const folder = options.text("report");
    if (folder !== undefined) {
      const { writeCoverage } = await import("../../cve/coverage-report.ts");
      for (const path of await writeCoverage(folder, result)) progress.note(`wrote ${path}`);
    }
    if (context.json) context.printJson(result);
    else for (const line of cveLines(result, context.style)) context.print(line);
    return ExitCode.done;
  },
};

/** Codes that say that no package belongs to the running kernel. */
const notPackaged = ["RUNNING_KERNEL_NOT_PACKAGED", "DISTRIBUTION_UNKNOWN"];

/** Undefined on a machine whose running kernel no package belongs to, where `--update` renews the records all the same. */
async function subjectOf(context: CommandContext, options: OptionValues): Promise<CveSubject | undefined> {
  const data = await openRecords(context, options);
  try {
    return await cveSubject(context, options, data);
  } catch (error) {
    if (!options.flag("update") || !(error instanceof KmendError) || !notPackaged.includes(error.code)) throw error;
    const records = data.records.size;
    if (context.json) context.printJson({ schema: 1, data: { from: data.from, sha256: data.digest, records } });
    else context.print(`${records} records; name a kernel with --kernel to see how they stand there`);
    return undefined;
  }
}

async function cvesOf(context: CommandContext, subject: CveSubject, options: OptionValues): Promise<CveCoverage> {
  const { kernel, version, data, changelog } = subject;
  const { progress, signal } = context;
  const { filesNotBuilt } = await import("../../cve/built-files.ts");
  const { exposedRecords, statesOf } = await import("../../cve/kernel-cves.ts");
  const filter = await cveFilterOf(options, options.list("file"));
  if (filter.fixedSince !== undefined && filter.fixedSince.series !== version.series) {
    throw usageError("kmend cves", `--fixed-since ${filter.fixedSince.text} is not of the series ${version.series}`);
  }
  const exposed = exposedRecords(data, version, filter);
  const files = exposed.flatMap(({ record }) => record.files);
  const notBuilt = files.length === 0 ? new Set<string>() : await filesNotBuilt(kernel, files, { progress, signal });
  const states = statesOf(exposed, { version, changelog, ...(await knownHere(kernel.release)) }, notBuilt);
  const plans = options.flag("plan") ? await plansOf(context, subject, states, options) : new Map<string, CvePlan>();
  const cves = states.map((cve) => ({ ...cve, plan: plans.get(cve.id) ?? null }));
  const counts = { "in force": 0, installed: 0, open: 0, "no fix": 0, fixed: 0, "not in this configuration": 0 };
  for (const { state } of cves) counts[state] += 1;
  return {
    schema: 1,
    kernel: { release: kernel.release, buildId: kernel.buildId, version: version.text },
    data: { from: data.from, sha256: data.digest, records: data.records.size },
    counts,
    cves,
  };
}

async function plansOf(
  context: CommandContext,
  { kernel, version, data, changelog }: CveSubject,
  states: readonly KernelCve[],
  options: OptionValues,
): Promise<Map<string, CvePlan>> {
  const { progress, signal } = context;
  const { withTree } = await import("../../cve/built-files.ts");
  const { planFixes } = await import("../../cve/build-cves.ts");
  const { fixesOf } = await import("../../cve/chosen-fixes.ts");
  const source = await fixSourceOf(options, signal);
  const open = states.filter(({ state }) => state === "open");
  const plans = new Map<string, CvePlan>();
  for (const { id, commit } of open) if (commit === null) plans.set(id, withoutCommit);
  const wanted = open.flatMap(({ id, commit }) => (commit === null ? [] : [id]));
  const fixes = fixesOf(wanted, data, version, changelog);
  const outcomes = await withTree(kernel, { progress, signal }, ({ tree }) =>
    planFixes(fixes, {
      ...{ kernel, version: version.text, tree, source, with: options.list("with"), progress, signal },
      options: requestOf(context, options, undefined),
    }),
  );
  for (const outcome of outcomes) plans.set(outcome.id, planOf(outcome));
  return plans;
}

const withoutCommit: CvePlan = {
  state: "needs a person",
  codes: ["CVE_WITHOUT_COMMIT"],
  why: "the records do not say which commit fixes it in this series",
  hint: "find it in the changelog of that version, and build it with kmend build PATCH",
};

function planOf({ outcome, codes, why, hint }: CveOutcome): CvePlan {
  const state = ({ built: "closable", unchanged: "not in this configuration" } as const)[
    outcome as "built" | "unchanged"
  ];
  return { state: state ?? (outcome as "refused" | "needs a person" | "fixed"), codes, why, hint };
}

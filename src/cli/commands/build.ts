import type { BuildRequest } from "../../build/build-facts.ts";
import type { BuildResult } from "../../build/build-types.ts";
import { ExitCode } from "../../support/errors.ts";
import type { CommandContext, CommandDefinition, OptionDefinition, OptionValues } from "../command.ts";
import { buildExitCodes, requestOf } from "../options/build-request.ts";
import { cveDataOption, cveFilterOptions, fixSourceOptions } from "../options/cve-options.ts";
import { externalOptions } from "../options/external-options.ts";
import { kernelNeeds, kernelOptions } from "../options/kernel-options.ts";
import { reportOption, reportSink, requireReportFolder, writeReports } from "../options/report-options.ts";
import { saveReproOption } from "../options/repro-option.ts";
import { usageError } from "../options/usage.ts";
import { reportBuild } from "../report/build-report.ts";

/** Options that let more pass than a build does by itself. */
export const limitOptions: readonly OptionDefinition[] = [
  {
    flags: "--max-units <N>",
    description: "maximum number of units that a changed header may touch (default: 500)",
    minimum: 1,
  },
  {
    flags: "--allow-layout <TYPE>",
    description: "accept that the patch changes this data structure or prototype (repeatable; recorded in the module)",
    repeatable: true,
  },
];

/** The author's word about ADDRESS_KEPT. */
export const removableOption: OptionDefinition = {
  flags: "--removable",
  description: "allow unloading the module although the kernel may keep addresses of it (recorded in the module)",
};

/** Options of everything that builds a patch module. */
export const buildOptions: readonly OptionDefinition[] = [
  ...kernelOptions,
  ...externalOptions,
  { flags: "-n, --name <NAME>", description: "module name (default: livepatch-<patch name>)" },
  {
    flags: "--fixes <CVE>",
    description: "vulnerability that the patches fix, for the manifest of the module (repeatable)",
    repeatable: true,
  },
  { flags: "--no-replace", description: "leave earlier patch modules active instead of replacing them" },
  { flags: "-j, --jobs <N>", description: "number of concurrent compilers (default: all cores)", minimum: 1 },
  removableOption,
  {
    flags: "--adapt",
    description:
      "rewrite changes of data structures and trace events so that they can be live patched, where that is sound",
  },
  ...limitOptions,
  {
    flags: "--skip-gcc-check",
    description: "accept a compiler other than the kernel's (not recommended; the proof then decides)",
  },
  { flags: "--no-install", description: "never install missing packages" },
];

export const buildCommand: CommandDefinition = {
  name: "build",
  summary: "make a patch module from a source patch",
  description:
    "Makes a patch module from one or more source patches, for a stock kernel or for the kernel of your own source tree. Verifies that the module matches the kernel before writing it.",
  arguments: [
    {
      name: "[PATCH...]",
      description: "unified diffs against the kernel source, applied in this order; none with --cve",
      offers: [{ files: [".patch", ".diff"] }],
    },
  ],
  options: [
    { flags: "-o, --output <DIR>", description: "folder for the module (default: the current one)" },
    reportOption,
    ...buildOptions,
    saveReproOption,
    {
      flags: "--cve <ID>",
      description: "build the fix of the vulnerability with this number (repeatable)",
      repeatable: true,
    },
    {
      flags: "--all-cves",
      description: "build one module with the fixes of all open vulnerabilities that can be built",
    },
    ...cveFilterOptions,
    cveDataOption,
    ...fixSourceOptions,
  ],
  examples: [
    { command: "kmend build fix.patch", description: "make livepatch-fix.ko for the running kernel" },
    {
      command: "kmend build --kernel newest a.patch b.patch",
      description: "build two patches for the newest stock kernel",
    },
    {
      command: "kmend build --source ~/linux fix.patch",
      description: "build for the kernel that was built from this tree",
    },
    {
      command: "kmend build --cve CVE-2026-12345 --git ~/linux-stable",
      description: "build the fix of a vulnerability from a clone of the stable tree",
    },
    {
      command: "kmend build --sourcerpm kernel-5.14.0-427.el9.src.rpm fix.patch",
      description: "build for the kernel of this source RPM",
    },
    {
      command: "kmend build --oot-module wifi.ko --oot-module-src ~/wifi fix.patch",
      description: "build for a module that is not part of the kernel",
    },
  ],
  exitCodes: {
    [ExitCode.failure]: "failure",
    [ExitCode.unchanged]: "nothing that this kernel builds is changed",
    [ExitCode.refused]: "the change cannot be live patched, or cannot be proven",
    [ExitCode.environment]: "the environment is not ready",
  },
  async run(context, operands, options) {
    if (options.flag("allCves") || options.list("cve").length > 0) {
      const { buildByCve } = await import("./build-cves.ts");
      return buildByCve(context, operands, options);
    }
    if (operands.length === 0) throw usageError("kmend build", "a patch is missing, or --cve or --all-cves");
    if (options.flag("adapt") && options.text("saveRepro") !== undefined)
      throw usageError(
        "kmend build",
        "--save-repro and --adapt exclude each other; save the patch that kmend adapt writes",
      );
    const page = options.text("report");
    await requireReportFolder(page, operands);
    const sink = reportSink({ kind: "patch", files: operands }, page !== undefined);
    const result = await runBuild(context, operands, options, ["build"], options.text("output"), sink.build);
    await writeReports(context, page, sink.reports);
    reportBuild(context, result);
    return buildExitCodes[result.outcome];
  },
};

/** Checks the requirements and builds; shared with `try`, which puts the module into a folder of its own. */
export async function runBuild(
  context: CommandContext,
  patches: readonly string[],
  options: OptionValues,
  needs: readonly ("build" | "try")[],
  output: string | undefined,
  further: Partial<BuildRequest> = {},
): Promise<BuildResult> {
  const { ensureRequirements } = await import("../../support/requirements.ts");
  const { progress, signal } = context;
  await ensureRequirements({
    needs: [...needs, ...kernelNeeds(options)],
    install: options.flag("install"),
    progress,
    signal,
  });
  const { build } = await import("../../build/build.ts");
  return build({ ...requestOf(context, options, output), ...further, patches });
}

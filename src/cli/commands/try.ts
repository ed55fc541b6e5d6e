import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ExitCode } from "../../support/errors.ts";
import type { TryResult } from "../../vm/try-types.ts";
import type { CommandContext, CommandDefinition, OptionValues } from "../command.ts";
import { buildExitCodes } from "../options/build-request.ts";
import { externalOf } from "../options/external-options.ts";
import { kernelNeeds, kernelOf } from "../options/kernel-options.ts";
import { baseNameOf, reportOption, reportSink, requireReportFolder, writeReports } from "../options/report-options.ts";
import { usageError } from "../options/usage.ts";
import { reportBuild } from "../report/build-report.ts";
import { reportStop } from "../report/stop-report.ts";
import { buildOptions, runBuild } from "./build.ts";
import { makeStopFile, stopOptions } from "./stop.ts";

export const tryCommand: CommandDefinition = {
  name: "try",
  summary: "try a patch or a patch module in a virtual machine",
  description:
    "Boots the stock kernel in QEMU, loads the patch module, waits for its transition, reverts it and unloads it. Runs the probes before, while and after the patch is active. Builds source patches first.",
  arguments: [
    {
      name: "[FILE...]",
      description:
        "source patches; or a patch module (.ko) or update (ksplice-ID.tar.gz), after those that it was built on",
      offers: [{ files: [".patch", ".diff", ".ko", ".tar.gz"] }],
    },
  ],
  options: [
    {
      flags: "--probe <CMD>",
      description: "shell command whose output shows the effect (repeatable)",
      repeatable: true,
    },
    {
      flags: "--module <NAME>",
      description: "kernel module to load first, with its dependencies (repeatable)",
      repeatable: true,
    },
    { flags: "--hits", description: "list how often each patched function was called while the patch was active" },
    { flags: "--timeout <S>", description: "seconds that the virtual machine may take (default: 120)", minimum: 10 },
    {
      flags: "--stop <FUNCTION>",
      description: "try a module that makes this function return at once, as kmend stop makes it (repeatable)",
      repeatable: true,
    },
    ...stopOptions,
    reportOption,
    ...buildOptions,
  ],
  examples: [
    { command: "kmend try fix.patch --probe 'cat /proc/meminfo'", description: "build the patch and show its effect" },
    { command: "kmend try livepatch-fix.ko --module fuse", description: "try a module with fuse loaded" },
    { command: "kmend try --stop ptrace_attach --kernel newest", description: "try what kmend stop would load" },
  ],
  exitCodes: {
    [ExitCode.failure]: "failure",
    [ExitCode.unchanged]: "nothing that this kernel builds is changed",
    [ExitCode.refused]: "the change cannot be live patched, or cannot be proven",
    [ExitCode.environment]: "the environment is not ready",
    [ExitCode.stalled]: "the verdict is `failed`",
  },
  async run(context, operands, options) {
    await requireReportFolder(options.text("report"), operands);
    if (options.list("stop").length > 0) return tryStop(context, operands, options);
    if (operands.length === 0)
      throw usageError("kmend try", "a patch or a patch module is missing, or --stop FUNCTION");
    const { withModuleFiles } = await import("../../update/update-bundle.ts");
    return withModuleFiles(operands, (files) => tryFiles(context, files, options, operands.map(baseNameOf)));
  },
};

/** Makes the module that `kmend stop` would make, and tries it. */
async function tryStop(context: CommandContext, operands: readonly string[], options: OptionValues): Promise<ExitCode> {
  if (operands.length > 0)
    throw usageError("kmend try", "--stop makes the module, so no patch and no module goes with it");
  const folder = await mkdtemp(join(tmpdir(), "kmend-stop-"));
  try {
    const { progress, signal } = context;
    const { ensureRequirements } = await import("../../support/requirements.ts");
    await ensureRequirements({ needs: ["try"], install: options.flag("install"), progress, signal });
    const { outcome, file } = await makeStopFile(context, options.list("stop"), options, undefined);
    if (outcome.module === null || file === undefined) {
      reportStop(context, { ...outcome, path: null, until: null });
      return ExitCode.refused;
    }
    const module = join(folder, `${outcome.module.name}.ko`);
    await writeFile(module, file);
    const { release } = outcome.kernel;
    return await shown(context, await boot(context, options, { release, module, earlier: [], files: [] }), options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function tryFiles(
  context: CommandContext,
  operands: readonly string[],
  options: OptionValues,
  given: readonly string[],
): Promise<ExitCode> {
  const modules = operands.filter((file) => /\.ko$/.test(file));
  if (modules.length === 0) return tryPatches(context, operands, options);
  const module = modules.at(-1);
  if (module === undefined || modules.length < operands.length) {
    throw usageError("kmend try", "either patch modules or patches, but not both");
  }
  const { ensureRequirements } = await import("../../support/requirements.ts");
  const { progress, signal } = context;
  const { releaseOfModule } = await import("../../vm/patch-module.ts");
  const release = options.text("kernel") ?? (await releaseOfModule(module));
  const external = options.text("ootModule");
  await ensureRequirements({
    needs: ["try", ...kernelNeeds(options)],
    install: options.flag("install"),
    progress,
    signal,
  });
  const earlier = modules.slice(0, -1);
  const subject = { release, module, earlier, files: external === undefined ? [] : [external] };
  const result = await boot(context, options, subject);
  await reportModule(context, options, { module, file: given.at(-1) ?? "" }, result);
  return shown(context, result, options);
}

async function tryPatches(
  context: CommandContext,
  patches: readonly string[],
  options: OptionValues,
): Promise<ExitCode> {
  const folder = await mkdtemp(join(tmpdir(), "kmend-build-"));
  try {
    const page = options.text("report");
    const sink = reportSink({ kind: "patch", files: patches }, page !== undefined);
    const result = await runBuild(context, patches, options, ["build", "try"], folder, sink.build);
    if (result.outcome !== "built" || result.module === null) {
      await writeReports(context, page, sink.reports);
      reportBuild(context, result);
      return buildExitCodes[result.outcome];
    }
    for (const note of result.notes) context.progress.note(note);
    const { release } = result.kernel;
    const { external } = externalOf(options);
    const files = external === undefined ? [] : [external.module];
    const tried = await boot(context, options, { release, module: result.module.path, earlier: [], files });
    await writeReports(context, page, sink.reports, tried);
    return await shown(context, tried, options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Subject {
  readonly release: string;
  readonly module: string;
  /** Patch modules that it goes on top of, oldest first. */
  readonly earlier: readonly string[];
  /** Files of modules that are not the kernel's own. */
  readonly files: readonly string[];
}

/** The page of a finished module with its trial. */
async function reportModule(
  context: CommandContext,
  options: OptionValues,
  { module, file }: { readonly module: string; readonly file: string },
  tried: TryResult,
): Promise<void> {
  const page = options.text("report");
  if (page === undefined) return;
  const { collectModuleReport } = await import("../../report/collect-module.ts");
  const { progress, signal } = context;
  const { kernel, image, archive, rpms } = kernelOf(options);
  const kind = file.endsWith(".ko") ? "module" : "update";
  const subject = { kind, files: [file] } as const;
  const external = options.text("ootModule");
  const question = { module, subject, kernel, image, archive, rpms, external, progress, signal };
  await writeReports(context, page, [await collectModuleReport(question)], tried);
}

/** Prints the verdict of a trial. */
async function shown(context: CommandContext, result: TryResult, options: OptionValues): Promise<ExitCode> {
  const { reportTry } = await import("../report/try-report.ts");
  reportTry(context, result, options.flag("hits"));
  return result.verdict === "passed" ? ExitCode.done : ExitCode.stalled;
}

async function boot(context: CommandContext, options: OptionValues, subject: Subject): Promise<TryResult> {
  const { progress, signal } = context;
  const { findTargetKernel } = await import("../../kernel/find.ts");
  const { tryModule } = await import("../../vm/try.ts");
  const asked = kernelOf(options);
  const wanted =
    asked.source === undefined && asked.rpms === undefined
      ? { kernel: subject.release, archive: asked.archive }
      : asked;
  const kernel = await findTargetKernel({ ...wanted, progress, signal });
  return tryModule({
    kernel,
    modulePath: subject.module,
    probes: options.list("probe"),
    earlier: subject.earlier,
    modules: options.list("module"),
    moduleFiles: subject.files,
    timeoutSeconds: options.integer("timeout"),
    progress,
    signal,
  });
}

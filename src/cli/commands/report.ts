import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { ReviewReport } from "../../report/report-types.ts";
import { ExitCode } from "../../support/errors.ts";
import type { TryResult } from "../../vm/try-types.ts";
import type { CommandContext, CommandDefinition, OptionValues } from "../command.ts";
import { externalOf } from "../options/external-options.ts";
import { archiveOf, kernelNeeds, rpmsOf } from "../options/kernel-options.ts";
import { baseNameOf, reportSink, requireReportFolder, writePage } from "../options/report-options.ts";
import { usageError } from "../options/usage.ts";
import { buildOptions, runBuild } from "./build.ts";

export const reportCommand: CommandDefinition = {
  name: "report",
  summary: "write a page that shows a reviewer what a patch does",
  description:
    "Writes one HTML file that shows what a patch module changes, and why it may be trusted: the patch with what became of each part, shipped and patched code side by side, the proof, callers, types, locks and data, and what is in the module. Patches are built first, and a refused one gets a page of its refusals. The page needs no network and no scripts.",
  arguments: [
    {
      name: "FILE...",
      description: "source patches, a patch module (.ko), or an update (ksplice-ID.tar.gz); two modules with --compare",
      offers: [{ files: [".ko", ".patch", ".diff", ".tar.gz"] }],
    },
  ],
  options: [
    { flags: "-o, --output <FILE>", description: "the page (default: NAME.html in the current folder)" },
    { flags: "--compare", description: "show what the second of two modules adds to the first, changes and drops" },
    { flags: "--trial <FILE>", description: "show this trial too: the output of kmend try --json" },
    ...buildOptions,
  ],
  examples: [
    {
      command: "kmend report fix.patch --kernel newest -o fix.html",
      description: "build a patch and show what it does",
    },
    { command: "kmend report livepatch-fix.ko", description: "a finished module, held against its kernel again" },
    { command: "kmend report --compare old.ko new.ko", description: "what a cumulative successor changes" },
  ],
  exitCodes: {
    [ExitCode.unchanged]: "nothing that this kernel builds is changed; the page is written",
    [ExitCode.refused]: "the change cannot be live patched, or cannot be proven; the page is written",
    [ExitCode.environment]: "the environment is not ready",
    [ExitCode.stalled]: "the module does not fit its kernel; the page is written",
  },
  async run(context, operands, options) {
    const modules = operands.filter((file) => file.endsWith(".ko"));
    if (options.flag("compare")) return compare(context, operands, options);
    const [first = ""] = operands;
    const isUpdate = operands.length === 1 && /\.tar\.gz$/.test(first);
    if (modules.length > 0 && operands.length > 1)
      throw usageError("kmend report", "one module at a time, two with --compare; or patches");
    const output = options.text("output") ?? `${baseNameOf(first).replace(/\.(patch|diff|ko|tar\.gz)$/, "")}.html`;
    await requireReportFolder(output, operands);
    const trial = await trialOf(options.text("trial"));
    const report =
      modules.length > 0 || isUpdate
        ? await ofModule(context, first, isUpdate, options)
        : await ofPatches(context, operands, options);
    const { renderReport } = await import("../../report/page/document.tsx");
    const { withTrial } = await import("../../report/collect-build.ts");
    const whole = trial === undefined ? report : withTrial(report, trial);
    await requireNoInterrupt(context);
    if (context.json) context.printJson(whole);
    if (!context.json || options.text("output") !== undefined) await writePage(context, output, renderReport(whole));
    if (!context.json) context.print(output);
    return exitCodes[whole.verdict.outcome];
  },
};

const exitCodes: Readonly<Record<ReviewReport["verdict"]["outcome"], ExitCode>> = {
  built: ExitCode.done,
  proven: ExitCode.done,
  unchecked: ExitCode.done,
  unchanged: ExitCode.unchanged,
  refused: ExitCode.refused,
  failed: ExitCode.stalled,
};

async function ofPatches(
  context: CommandContext,
  patches: readonly string[],
  options: OptionValues,
): Promise<ReviewReport> {
  const folder = await mkdtemp(join(tmpdir(), "kmend-report-"));
  try {
    const sink = reportSink({ kind: "patch", files: patches }, true);
    await runBuild(context, patches, options, ["build"], folder, sink.build);
    const [report] = sink.reports;
    if (report === undefined) throw new Error("a build ended without its facts");
    return report;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A finished module, or the one in an update with its patch. */
async function ofModule(
  context: CommandContext,
  path: string,
  isUpdate: boolean,
  options: OptionValues,
): Promise<ReviewReport> {
  const { progress, signal } = context;
  const { ensureRequirements } = await import("../../support/requirements.ts");
  await ensureRequirements({ needs: kernelNeeds(options), install: options.flag("install"), progress, signal });
  const { collectModuleReport } = await import("../../report/collect-module.ts");
  const { withModuleFiles, readUpdate } = await import("../../update/update-bundle.ts");
  const patch = isUpdate ? (await readUpdate(path)).patch : undefined;
  return withModuleFiles([path], ([module]) =>
    collectModuleReport({
      module: module as string,
      subject: { kind: isUpdate ? "update" : "module", files: [baseNameOf(path)] },
      patch,
      kernel: options.text("kernel"),
      image: options.text("image"),
      archive: archiveOf(options),
      rpms: rpmsOf(options),
      external: externalOf(options).external?.module,
      progress,
      signal,
    }),
  );
}

async function compare(context: CommandContext, operands: readonly string[], options: OptionValues): Promise<ExitCode> {
  const [before, after] = operands;
  if (before === undefined || after === undefined || operands.length > 2)
    throw usageError("kmend report", "--compare takes two patch modules: the old one and the new one");
  const asked = ["trial", "kernel", "series", "image", "source", "archive", "sourcerpm", "ootModule", "name"];
  const passedOver = asked.find((name) => options.text(name) !== undefined);
  if (passedOver !== undefined)
    throw usageError(
      "kmend report",
      `--${passedOver === "ootModule" ? "oot-module" : passedOver} does not go with --compare: it compares two finished modules with each other, and with no kernel`,
    );
  const output = options.text("output") ?? `${baseNameOf(after).replace(/\.ko$/, "")}-compared.html`;
  await requireReportFolder(output, operands);
  const { withModuleFiles } = await import("../../update/update-bundle.ts");
  const { compareModules } = await import("../../report/compare-modules.ts");
  const comparison = await withModuleFiles(operands, ([old, fresh]) =>
    compareModules(old as string, fresh as string, [baseNameOf(before), baseNameOf(after)]),
  );
  await requireNoInterrupt(context);
  if (context.json) context.printJson(comparison);
  if (context.json && options.text("output") === undefined) return ExitCode.done;
  const { renderComparison } = await import("../../report/page/comparison.tsx");
  await writePage(context, output, renderComparison(comparison));
  if (!context.json) context.print(output);
  return ExitCode.done;
}

/** A signal that came while code was compared is heard of at the next turn only. @throws the reason of the interrupt */
async function requireNoInterrupt({ signal }: CommandContext): Promise<void> {
  await setImmediate();
  signal.throwIfAborted();
}

/** What `kmend try --json` printed. @throws KmendError `USAGE` (exit 2) for anything else. */
async function trialOf(file: string | undefined): Promise<TryResult | undefined> {
  if (file === undefined) return undefined;
  const { readTrial } = await import("../../report/read-trial.ts");
  return readTrial(file);
}

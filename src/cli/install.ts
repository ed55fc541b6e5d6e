import type { InstallOptions } from "../host/install.ts";
import { ExitCode } from "../support/errors.ts";
import type { CommandContext, CommandDefinition, OptionDefinition, OptionValues } from "./command.ts";
import { dryRunOption } from "./host-options.ts";
import { reportChange } from "./host-report.ts";

const kernelOption: OptionDefinition = {
  flags: "-k, --kernel <RELEASE>",
  description: "kernel that it is for (default: the running one)",
};

export const installCommand: CommandDefinition = {
  name: "install",
  summary: "install patch modules for their kernel",
  description:
    "Copies patch modules into /var/lib/kpatch/RELEASE, from where `kmend load --all`, or the service of the kpatch package at boot, loads them when that kernel runs. Does not load them now.",
  arguments: [{ name: "FILE...", description: "patch modules (.ko)" }],
  options: [kernelOption, dryRunOption],
  examples: [{ command: "kmend install livepatch-fix.ko", description: "for the running kernel" }],
  exitCodes: {
    [ExitCode.refused]: "it is made for another kernel",
    [ExitCode.environment]: "not root",
  },
  async run(context, operands, options) {
    const { install } = await import("../host/install.ts");
    const { exitCode, ...result } = await install(installOptions(context, operands, options));
    reportChange(context, result);
    return exitCode;
  },
};

export const uninstallCommand: CommandDefinition = {
  name: "uninstall",
  summary: "remove installed patch modules",
  description: "Removes installed patch modules. What is loaded stays loaded.",
  arguments: [{ name: "MODULE...", description: "names or file names of installed patch modules" }],
  options: [kernelOption, dryRunOption],
  examples: [{ command: "kmend uninstall livepatch-fix", description: "for the running kernel" }],
  exitCodes: { [ExitCode.unchanged]: "none of them is installed", [ExitCode.environment]: "not root" },
  async run(context, operands, options) {
    const { uninstall } = await import("../host/install.ts");
    const { exitCode, ...result } = await uninstall(installOptions(context, operands, options));
    reportChange(context, result);
    return exitCode;
  },
};

function installOptions(context: CommandContext, operands: readonly string[], options: OptionValues): InstallOptions {
  const { progress, signal } = context;
  return { operands, kernel: options.text("kernel"), dryRun: options.flag("dryRun"), progress, signal };
}

import type { InstallOptions, InstallResult } from "../../host/installed/install.ts";
import { ExitCode } from "../../support/errors.ts";
import type { CommandContext, CommandDefinition, OptionDefinition, OptionValues } from "../command.ts";
import { dryRunOption } from "../options/host-options.ts";
import { reportChange } from "../report/host-report.ts";

const kernelOption: OptionDefinition = {
  flags: "-k, --kernel <RELEASE>",
  description: "kernel that the module is for (default: the running one)",
};

export const installCommand: CommandDefinition = {
  name: "install",
  summary: "install patch modules for their kernel",
  description:
    "Copies patch modules into /var/lib/kpatch/RELEASE. kmend.service loads them from there when that kernel boots. Reports whether that service is installed and enabled. Does not load the modules now. The next boot loads a module again that was held back after a crash.",
  arguments: [{ name: "FILE...", description: "patch modules (.ko)", offers: [{ files: [".ko"] }] }],
  options: [
    kernelOption,
    {
      flags: "--initramfs",
      description: "let the initramfs load all modules that are installed for the kernel, at every boot from now on",
    },
    dryRunOption,
  ],
  examples: [
    { command: "kmend install livepatch-fix.ko", description: "install it for the running kernel" },
    {
      command: "kmend install --initramfs livepatch-fix.ko",
      description: "load it before the first service starts",
    },
  ],
  exitCodes: {
    [ExitCode.failure]: "the initramfs could not be rebuilt",
    [ExitCode.refused]: "it is made for another kernel",
    [ExitCode.environment]: "not root, or nothing would load it in the initramfs",
  },
  async run(context, operands, options) {
    const { install } = await import("../../host/installed/install.ts");
    const result = await install(installOptions(context, operands, options));
    if (result.outcome === "done") context.progress.note(result.boot.text);
    reportInstall(context, result);
    const { hostExitCode } = await import("../report/host-exit-codes.ts");
    return hostExitCode(result);
  },
};

export const uninstallCommand: CommandDefinition = {
  name: "uninstall",
  summary: "remove installed patch modules",
  description: "Removes installed patch modules. Loaded modules stay loaded.",
  arguments: [
    {
      name: "MODULE...",
      description: "names or file names of installed patch modules",
      offers: [{ names: ["installed"] }],
    },
  ],
  options: [kernelOption, dryRunOption],
  examples: [{ command: "kmend uninstall livepatch-fix", description: "remove it for the running kernel" }],
  exitCodes: { [ExitCode.unchanged]: "none of them is installed", [ExitCode.environment]: "not root" },
  async run(context, operands, options) {
    const { uninstall } = await import("../../host/installed/install.ts");
    const result = await uninstall(installOptions(context, operands, options));
    reportInstall(context, result);
    const { hostExitCode } = await import("../report/host-exit-codes.ts");
    return hostExitCode(result);
  },
};

/** The failure of an initramfs comes before what became of the modules, whose last line is the summary. */
function reportInstall(context: CommandContext, result: InstallResult): void {
  const { error } = result.boot;
  if (error !== null && !context.json) context.printProblem({ kind: "error", where: undefined, ...error });
  reportChange(context, result);
}

function installOptions(context: CommandContext, operands: readonly string[], options: OptionValues): InstallOptions {
  const { progress, signal } = context;
  return {
    operands,
    kernel: options.text("kernel"),
    initramfs: options.flag("initramfs"),
    dryRun: options.flag("dryRun"),
    progress,
    signal,
  };
}

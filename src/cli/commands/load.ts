import type { CommandDefinition } from "../command.ts";
import { changeExitCodes, changeOf, dryRunOption, requireOneOf, timeoutOption } from "../options/host-options.ts";
import { reportChange } from "../report/host-report.ts";

export const loadCommand: CommandDefinition = {
  name: "load",
  summary: "load patch modules into the running kernel",
  description:
    "Checks that the kernel, its policy and the loaded modules allow the load. Then loads patch modules and waits until every task uses the new code. If the transition stalls, reports why, reverts it and unloads the module.",
  arguments: [
    {
      name: "[MODULE...]",
      description: "files (.ko), updates (ksplice-ID.tar.gz), or names of installed patch modules",
      offers: [{ files: [".ko", ".tar.gz"] }, { names: ["installed"] }],
    },
  ],
  options: [
    { flags: "--all", description: "all patch modules that are installed for the running kernel, oldest first" },
    {
      flags: "--when-idle",
      description:
        "first wait, up to --timeout, until no task is in a function that the patch changes; else load nothing",
    },
    timeoutOption,
    dryRunOption,
  ],
  examples: [
    { command: "kmend load livepatch-fix.ko", description: "load a file" },
    { command: "kmend load --dry-run livepatch-fix.ko", description: "check whether it can be loaded" },
    { command: "kmend load --all", description: "load all modules that are installed for the running kernel" },
  ],
  exitCodes: changeExitCodes,
  async run(context, operands, options) {
    const all = options.flag("all");
    requireOneOf("load", operands, all);
    const { load } = await import("../../host/load/load.ts");
    const { withModuleFiles } = await import("../../update/update-bundle.ts");
    const result = await withModuleFiles(operands, (files) =>
      load({ operands: files, all, whenIdle: options.flag("whenIdle"), ...changeOf(context, options) }),
    );
    reportChange(context, result);
    const { hostExitCode } = await import("../report/host-exit-codes.ts");
    return hostExitCode(result);
  },
};

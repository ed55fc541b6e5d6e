import { ExitCode } from "../../support/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { changeExitCodes, changeOf, dryRunOption, requireOneOf, timeoutOption } from "../options/host-options.ts";
import { reportChange } from "../report/host-report.ts";

export const unloadCommand: CommandDefinition = {
  name: "unload",
  summary: "revert and unload patch modules",
  description:
    "Reverts patch modules, the newest first, waits until no task uses their code, and unloads them. If the transition stalls, reports why and enables the patch again. Also ends a transition that another command left running.",
  arguments: [
    {
      name: "[MODULE...]",
      description: "names of loaded patch modules, or files of them",
      offers: [{ names: ["loaded"] }],
    },
  ],
  options: [
    { flags: "--all", description: "all loaded patch modules, and what replaced ones left in memory" },
    timeoutOption,
    dryRunOption,
  ],
  examples: [
    { command: "kmend unload livepatch-fix", description: "revert and unload one patch module" },
    { command: "kmend unload --all", description: "restore the kernel as it was booted" },
  ],
  exitCodes: { ...changeExitCodes, [ExitCode.unchanged]: "no such patch module is loaded" },
  async run(context, operands, options) {
    const all = options.flag("all");
    requireOneOf("unload", operands, all);
    const { unload } = await import("../../host/load/unload.ts");
    const result = await unload({ operands, all, ...changeOf(context, options) });
    reportChange(context, result);
    const { hostExitCode } = await import("../report/host-exit-codes.ts");
    return hostExitCode(result);
  },
};

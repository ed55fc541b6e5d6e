import type { CommandDefinition } from "../command.ts";
import { changeExitCodes, changeOf, dryRunOption, timeoutOption } from "../options/host-options.ts";
import { reportChange } from "../report/host-report.ts";

export const replaceCommand: CommandDefinition = {
  name: "replace",
  summary: "replace all loaded patch modules with a cumulative one",
  description:
    "Loads a patch module that replaces all loaded ones in one transition, and unloads these. Refuses a module that was built with --no-replace.",
  arguments: [
    {
      name: "MODULE",
      description: "a file (.ko), or the name of an installed patch module",
      offers: [{ files: [".ko"] }, { names: ["installed"] }],
    },
  ],
  options: [timeoutOption, dryRunOption],
  examples: [{ command: "kmend replace livepatch-all.ko", description: "replace all others with one module" }],
  exitCodes: changeExitCodes,
  async run(context, operands, options) {
    const { replace } = await import("../../host/load/load.ts");
    const result = await replace({ operands, ...changeOf(context, options) });
    reportChange(context, result);
    const { hostExitCode } = await import("../report/host-exit-codes.ts");
    return hostExitCode(result);
  },
};

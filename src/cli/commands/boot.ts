import { ExitCode } from "../../support/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { changeExitCodes, changeOf, dryRunOption, timeoutOption } from "../options/host-options.ts";
import { reportChange } from "../report/host-report.ts";

export const bootCommand: CommandDefinition = {
  name: "boot",
  summary: "load the installed patch modules at boot, as kmend.service does",
  description:
    "Loads the patch modules that are installed for the running kernel, oldest first, unless kmend.enable=0 or kpatch.enable=0 is on the kernel's command line. Records each load on the disk before it happens and confirms it a minute later. If the machine went down within that minute, the next boot holds the module back, and kmend list reports it.",
  arguments: [],
  options: [
    { flags: "--confirm", description: "confirm the modules with which the machine has run for a minute" },
    timeoutOption,
    dryRunOption,
  ],
  examples: [{ command: "kmend boot", description: "in a boot script of a system without systemd" }],
  exitCodes: {
    ...changeExitCodes,
    [ExitCode.refused]: "a module is held back, or this kernel does not allow it",
  },
  async run(context, _operands, options) {
    const { boot, confirm } = await import("../../host/boot/boot.ts");
    if (options.flag("confirm")) {
      const result = await confirm(changeOf(context, options));
      if (context.json) context.printJson(result);
      else if (result.dryRun) for (const step of result.steps) context.print(step);
      else for (const name of result.confirmed) context.print(`${name}: the machine has lived with it for a minute`);
      return ExitCode.done;
    }
    const result = await boot(changeOf(context, options));
    if (result.switchedOff !== null) {
      context.progress.note(`${result.switchedOff} is on the kernel's command line: nothing is loaded at boot`);
    }
    reportChange(context, result);
    const { hostExitCode } = await import("../report/host-exit-codes.ts");
    return hostExitCode(result);
  },
};

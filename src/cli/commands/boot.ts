import { ExitCode } from "../../support/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { changeExitCodes, changeOf, dryRunOption, timeoutOption } from "../options/host-options.ts";
import { reportChange } from "../report/host-report.ts";

export const bootCommand: CommandDefinition = {
  name: "boot",
  summary: "load at boot what is installed, as kmend.service does",
  description:
    "Loads the patch modules that are installed for the running kernel, oldest first, unless kmend.enable=0 or kpatch.enable=0 is on the kernel's command line. Each load is recorded on the disk before it happens and confirmed a minute later; a module that the machine did not live with for a minute is held back at the next boot, and kmend list says so.",
  arguments: [],
  options: [
    { flags: "--confirm", description: "note that the machine has lived with what was loaded a minute ago" },
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

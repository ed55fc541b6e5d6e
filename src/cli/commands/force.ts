import { ExitCode } from "../../support/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { changeOf, dryRunOption } from "../options/host-options.ts";
import { taskLines } from "../report/host-report.ts";

export const forceCommand: CommandDefinition = {
  name: "force",
  summary: "end a stalled transition by declaring all tasks switched",
  description:
    "Ends a transition that cannot complete and must not be reverted. This is the last resort: tasks in the middle of a replaced function continue with the old code, which can crash the system. The modules whose code these tasks may be in cannot be unloaded until the next boot.",
  arguments: [
    { name: "MODULE", description: "name of the patch module in transition", offers: [{ names: ["loaded"] }] },
  ],
  options: [{ flags: "--yes-i-know", description: "confirm that you understand the consequences" }, dryRunOption],
  examples: [{ command: "kmend force livepatch-fix --yes-i-know", description: "end its transition" }],
  exitCodes: {
    [ExitCode.usage]: "--yes-i-know is missing",
    [ExitCode.unchanged]: "it is not in transition",
    [ExitCode.environment]: "not root",
  },
  async run(context, operands, options) {
    const { force } = await import("../../host/load/force.ts");
    const confirmed = options.flag("yesIKnow");
    const result = await force({ operand: operands[0] as string, confirmed, ...changeOf(context, options) });
    if (context.json) context.printJson(result);
    else {
      if (result.dryRun) for (const step of result.steps) context.print(step);
      const said = result.dryRun
        ? "these tasks would be declared switched"
        : "forced: these tasks were declared switched";
      context.print(`${result.name}: ${result.tasks.length === 0 ? said.replace("these", "no") : said}`);
      for (const line of taskLines(result.tasks)) context.print(line);
    }
    return ExitCode.done;
  },
};

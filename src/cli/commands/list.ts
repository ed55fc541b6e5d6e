import { ExitCode } from "../../support/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { listLines } from "../report/status-report.ts";

export const listCommand: CommandDefinition = {
  name: "list",
  summary: "list loaded and installed patch modules",
  description: "Lists the patch modules that are loaded, those that are installed for each kernel, and stalled tasks.",
  arguments: [],
  options: [],
  examples: [{ command: "kmend list", description: "list loaded and installed modules" }],
  exitCodes: {},
  async run(context) {
    const { readHostStatus } = await import("../../host/status/status.ts");
    const status = await readHostStatus();
    if (context.json) context.printJson(status);
    else for (const line of listLines(status, context.style)) context.print(line);
    return ExitCode.done;
  },
};

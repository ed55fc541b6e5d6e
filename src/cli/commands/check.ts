import { ExitCode } from "../../support/errors.ts";
import type { CommandDefinition } from "../command.ts";

export const checkCommand: CommandDefinition = {
  name: "check",
  summary: "exit with 0 only if every installed patch is active",
  description:
    "Checks that every patch module which is installed for the running kernel is active, and that no transition is running. Prints only problems; with -q nothing.",
  arguments: [],
  options: [],
  examples: [{ command: "kmend check || echo look", description: "in a script or a monitoring system" }],
  exitCodes: {
    [ExitCode.failure]: "an installed patch module is not active",
    [ExitCode.environment]: "something is installed, and the kernel has no live patching",
    [ExitCode.stalled]: "a transition is running",
  },
  async run(context) {
    const { judgeHealth, readHostStatus } = await import("../../host/status/status.ts");
    const health = judgeHealth(await readHostStatus());
    const problems = health.verdict === "good" ? [] : health.problems;
    if (context.json) context.printJson({ schema: 1, verdict: health.verdict, problems });
    else for (const problem of problems) context.progress.note(problem);
    return exitCodes[health.verdict];
  },
};

const exitCodes = {
  good: ExitCode.done,
  missing: ExitCode.failure,
  unable: ExitCode.environment,
  transition: ExitCode.stalled,
} as const;

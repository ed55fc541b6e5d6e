import type { SignalResult } from "../../host/load/signal.ts";
import { ExitCode } from "../../support/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { changeOf, dryRunOption } from "../options/host-options.ts";

export const signalCommand: CommandDefinition = {
  name: "signal",
  summary: "signal the tasks that block a transition",
  description:
    "Makes each task that has not switched cross the kernel's boundary once. Kernels since 5.1 do this on their own every 15 seconds.",
  arguments: [],
  options: [dryRunOption],
  examples: [{ command: "kmend signal", description: "signal the tasks of the running transition" }],
  exitCodes: { [ExitCode.unchanged]: "no transition is running", [ExitCode.environment]: "not root" },
  async run(context, _operands, options) {
    const { signal } = await import("../../host/load/signal.ts");
    const result = await signal(changeOf(context, options));
    if (context.json) context.printJson(result);
    else context.print(textOf(result));
    return result.outcome === "unchanged" ? ExitCode.unchanged : ExitCode.done;
  },
};

function textOf({ outcome, name, steps }: SignalResult): string {
  switch (outcome) {
    case "unchanged":
      return "no transition is running";
    case "automatic":
      return `this kernel signals the tasks of ${name} by itself, every 15 seconds`;
    case "signalled":
      return `signalled the tasks of ${name}`;
    case "planned":
      return steps.join("\n");
  }
}

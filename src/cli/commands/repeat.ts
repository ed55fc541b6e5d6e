import { ExitCode } from "../../support/errors.ts";
import type { CommandDefinition } from "../command.ts";

export const repeatCommand: CommandDefinition = {
  name: "repeat",
  summary: "repeat a run that --save-repro saved in a folder",
  description:
    "Repeats a run of kmend build or kmend diff from the folder that --save-repro wrote: repeats the comparison, the proof and the decision, and reports whether the outcome is the same. Needs no kernel packages, source or compiler, only patch(1) and pahole(1). Runs nothing from the folder and makes no module.",
  arguments: [{ name: "DIR", description: "folder that build --save-repro or diff --save-repro wrote" }],
  options: [],
  examples: [
    { command: "kmend repeat repro/", description: "check whether this version of kmend gives the same result" },
  ],
  exitCodes: { [ExitCode.done]: "the outcome is the same", [ExitCode.failure]: "the outcome is another one" },
  async run(context, [folder], _options) {
    const { repeatRun } = await import("../../build/repro/repeat.ts");
    const { progress, signal } = context;
    const result = await repeatRun({ folder: folder as string, progress, signal });
    if (context.json) context.printJson(result);
    else {
      for (const { field, before, now } of result.differences) {
        context.print(`${field}:`);
        context.print(`  before: ${JSON.stringify(before) ?? "nothing"}`);
        context.print(`  now:    ${JSON.stringify(now) ?? "nothing"}`);
      }
      const { command, kmend } = result;
      context.print(`${result.outcome}: ${command}, as kmend ${kmend} did it`);
    }
    return result.outcome === "same" ? ExitCode.done : ExitCode.failure;
  },
};

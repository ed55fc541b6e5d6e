import { ExitCode } from "../../support/errors.ts";
import type { CommandDefinition } from "../command.ts";

export const repeatCommand: CommandDefinition = {
  name: "repeat",
  summary: "repeat a run that --save-repro wrote into a folder",
  description:
    "Repeats what kmend build or kmend diff did, from the folder that --save-repro wrote: compares, proves and judges again, and says whether the outcome is the same. Needs no kernel packages, source or compiler, only patch(1) and pahole(1). Nothing in the folder is run, and no module is made.",
  arguments: [{ name: "DIR", description: "folder of build --save-repro or diff --save-repro" }],
  options: [],
  examples: [{ command: "kmend repeat repro/", description: "does this version of kmend come to the same?" }],
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

import type { OptionDefinition } from "../command.ts";

/** Folder for a bug report. */
export const saveReproOption: OptionDefinition = {
  flags: "--save-repro <DIR>",
  description: "write everything that the run reads to this new folder, for a bug report; kmend repeat repeats the run",
};

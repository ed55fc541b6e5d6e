import type { OptionDefinition } from "../command.ts";

/** Folder for a bug report. */
export const saveReproOption: OptionDefinition = {
  flags: "--save-repro <DIR>",
  description: "write all that the run reads into this new folder, for a bug report; kmend repeat repeats it",
};

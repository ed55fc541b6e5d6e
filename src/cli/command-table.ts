import { applyCommand, undoCommand, viewCommand } from "./apply.ts";
import { bootCommand } from "./boot.ts";
import { buildCommand } from "./build.ts";
import { checkCommand } from "./check.ts";
import type { CommandDefinition, OptionDefinition } from "./command.ts";
import { createCommand } from "./create.ts";
import { diffCommand } from "./diff.ts";
import { doctorCommand } from "./doctor.ts";
import { forceCommand } from "./force.ts";
import { infoCommand } from "./info.ts";
import { installCommand, uninstallCommand } from "./install.ts";
import { listCommand } from "./list.ts";
import { loadCommand } from "./load.ts";
import { packageCommand } from "./package.ts";
import { replaceCommand } from "./replace.ts";
import { repoCommand } from "./repo.ts";
import { signalCommand } from "./signal.ts";
import { statusCommand } from "./status.ts";
import { tryCommand } from "./try.ts";
import { unloadCommand } from "./unload.ts";
import { verifyCommand } from "./verify.ts";

/** Every command, in the order of `kmend --help`. */
export const commands: readonly CommandDefinition[] = [
  buildCommand,
  tryCommand,
  verifyCommand,
  packageCommand,
  repoCommand,
  createCommand,
  applyCommand,
  undoCommand,
  viewCommand,
  diffCommand,
  loadCommand,
  unloadCommand,
  replaceCommand,
  installCommand,
  uninstallCommand,
  bootCommand,
  listCommand,
  infoCommand,
  statusCommand,
  checkCommand,
  signalCommand,
  forceCommand,
  doctorCommand,
];

/** Options that every command has. */
export const commonOptions: readonly OptionDefinition[] = [
  { flags: "--json", description: "print the result as one JSON object" },
  { flags: "-q, --quiet", description: "no progress and no notes" },
  {
    flags: "-v, --verbose",
    description: "tell each step and program; twice (-vv) adds what programs said, and stack traces",
    counted: true,
  },
];

/** What each exit code means; commands may narrow the meaning of theirs. */
export const exitCodeMeanings: Readonly<Record<number, string>> = {
  0: "done",
  1: "failure",
  2: "wrong usage",
  3: "nothing to change",
  4: "the change cannot be live patched",
  5: "the environment is not ready",
  6: "the transition stalled, or a verification failed",
  7: "forbidden by policy (signature, lockdown)",
  130: "interrupted",
};

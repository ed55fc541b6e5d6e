import type { CommandDefinition, OptionDefinition } from "./command.ts";
import { adaptCommand } from "./commands/adapt.ts";
import { applyCommand, undoCommand, viewCommand } from "./commands/apply.ts";
import { bootCommand } from "./commands/boot.ts";
import { buildCommand } from "./commands/build.ts";
import { cacheCommand } from "./commands/cache.ts";
import { checkCommand } from "./commands/check.ts";
import { createCommand } from "./commands/create.ts";
import { cvesCommand } from "./commands/cves.ts";
import { diffCommand } from "./commands/diff.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { forceCommand } from "./commands/force.ts";
import { infoCommand } from "./commands/info.ts";
import { installCommand, uninstallCommand } from "./commands/install.ts";
import { listCommand } from "./commands/list.ts";
import { loadCommand } from "./commands/load.ts";
import { matrixCommand } from "./commands/matrix.ts";
import { packageCommand } from "./commands/package.ts";
import { repeatCommand } from "./commands/repeat.ts";
import { replaceCommand } from "./commands/replace.ts";
import { repoCommand } from "./commands/repo.ts";
import { reportCommand } from "./commands/report.ts";
import { signalCommand } from "./commands/signal.ts";
import { statusCommand } from "./commands/status.ts";
import { stopCommand } from "./commands/stop.ts";
import { tryCommand } from "./commands/try.ts";
import { unloadCommand } from "./commands/unload.ts";
import { verifyCommand } from "./commands/verify.ts";
import { workerCommand } from "./commands/worker.ts";

/** Every command, in the order of `kmend --help`. */
export const commands: readonly CommandDefinition[] = [
  buildCommand,
  adaptCommand,
  tryCommand,
  verifyCommand,
  reportCommand,
  cvesCommand,
  packageCommand,
  repoCommand,
  matrixCommand,
  workerCommand,
  createCommand,
  applyCommand,
  undoCommand,
  viewCommand,
  diffCommand,
  repeatCommand,
  loadCommand,
  unloadCommand,
  replaceCommand,
  stopCommand,
  installCommand,
  uninstallCommand,
  bootCommand,
  listCommand,
  infoCommand,
  statusCommand,
  checkCommand,
  signalCommand,
  forceCommand,
  cacheCommand,
  doctorCommand,
];

/** Options that every command has. */
export const commonOptions: readonly OptionDefinition[] = [
  { flags: "--json", description: "print the result as one JSON object" },
  { flags: "-q, --quiet", description: "no progress and no notes" },
  {
    flags: "-v, --verbose",
    description: "show each step and program; twice (-vv) adds the output of programs, and stack traces",
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

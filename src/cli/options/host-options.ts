import type { ChangeOptions } from "../../host/load/load.ts";
import { ExitCode } from "../../support/errors.ts";
import type { CommandContext, CommandDefinition, OptionDefinition, OptionValues } from "../command.ts";
import { usageError } from "./usage.ts";

/** Option of everything that changes the system. */
export const dryRunOption: OptionDefinition = {
  flags: "--dry-run",
  description: "print each step and change nothing",
};

/** Option of everything that waits for a transition. */
export const timeoutOption: OptionDefinition = {
  flags: "--timeout <S>",
  description:
    "seconds to wait for a transition, before signalling the remaining tasks and again after that (default: 60)",
  minimum: 1,
};

/** Exit codes of what changes the loaded patch modules. */
export const changeExitCodes: CommandDefinition["exitCodes"] = {
  [ExitCode.failure]: "failure",
  [ExitCode.refused]: "this kernel, or what is loaded, does not allow it",
  [ExitCode.environment]: "not root, no live patching, another transition is running, or a function is traced",
  [ExitCode.stalled]: "the transition stalled and was reverted",
  [ExitCode.policy]: "forbidden by policy: signature, lockdown",
};

/** What the command line says about a change. */
export function changeOf(context: CommandContext, options: OptionValues): ChangeOptions {
  return {
    timeoutSeconds: options.integer("timeout"),
    dryRun: options.flag("dryRun"),
    progress: context.progress,
    signal: context.signal,
  };
}

/** Exactly one of some operands and `--all`. @throws KmendError `USAGE`. */
export function requireOneOf(command: string, operands: readonly string[], all: boolean): void {
  if (operands.length > 0 === all) {
    const message = all ? "--all and names exclude each other" : "a file, a name, or --all is needed";
    throw usageError(`kmend ${command}`, message);
  }
}

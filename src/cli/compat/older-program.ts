import { Command, CommanderError } from "commander";
import type { KmendError } from "../../support/errors.ts";
import type { ArgumentDefinition, OptionDefinition } from "../command.ts";
import { requireWords, toOption } from "../options/parse.ts";
import { asKmendError, formatProblem, interruptedError } from "../report/problem.ts";
import type { CommandIo } from "../run-command-line.ts";
import { styleFor } from "../terminal/style.ts";

/** What makes the command line of one of the programs whose names kmend stands in for. */
export interface OlderProgram {
  readonly name: string;
  readonly description: string;
  /** What the version option prints. */
  readonly version: string;
  readonly versionFlags: string;
  readonly helpFlags: string;
  /** With its brackets in `name`: `<PATCH...>`, `[PATCH]`. */
  readonly argument?: ArgumentDefinition | undefined;
  readonly options: readonly OptionDefinition[];
}

/** A command line that was read. */
export type Parsed =
  | { readonly kind: "args"; readonly command: Command }
  /** Help or version was asked for, or the arguments are wrong. */
  | { readonly kind: "text"; readonly text: string; readonly command: Command; readonly problem: CommanderError };

/** Reads the command line of such a program; nothing is printed. */
export function parseOlder(program: OlderProgram, args: readonly string[]): Parsed {
  let text = "";
  const keep = (output: string): void => {
    text += output;
  };
  const command = new Command(program.name)
    .exitOverride()
    .configureOutput({ writeOut: keep, writeErr: keep })
    .description(program.description)
    .version(program.version, program.versionFlags, "show the version")
    .helpOption(program.helpFlags, "show this help");
  if (program.argument !== undefined) command.argument(program.argument.name, program.argument.description);
  for (const option of program.options) command.addOption(toOption(option));
  try {
    command.parse([...args], { from: "user" });
    requireWords(command, command.args);
  } catch (problem) {
    if (!(problem instanceof CommanderError)) throw problem;
    return { kind: "text", text, command, problem };
  }
  return { kind: "args", command };
}

/** What was thrown, as a problem of kmend's: the interrupt before all else. */
export function failureOf(thrown: unknown, { signal }: CommandIo): KmendError {
  return signal.aborted ? interruptedError() : asKmendError(thrown);
}

/** Prints a failure for people on standard error. */
export function tellFailure({ code, message, where, why, hint }: KmendError, { stderr }: CommandIo): void {
  stderr.write(formatProblem({ kind: "error", code, message, where, why, hint }, styleFor(stderr)));
}

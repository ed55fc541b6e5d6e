import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { version } from "../../support/version.ts";
import { type CommandDefinition, type OptionDefinition, OptionValues } from "../command.ts";
import { commands, commonOptions, exitCodeMeanings } from "../command-table.ts";
import type { Verbosity } from "../terminal/reporter.ts";

/** What a command line asks for. */
export type Request =
  | {
      readonly kind: "run";
      readonly command: CommandDefinition;
      readonly operands: readonly string[];
      readonly options: OptionValues;
    }
  /** Help or version: print this and be done. */
  | { readonly kind: "text"; readonly text: string };

/**
 * Reads the arguments after the program's name.
 * @throws KmendError `USAGE` (exit 2) with one line that says what is wrong and where help is.
 */
export function parseCommandLine(args: readonly string[], table: readonly CommandDefinition[] = commands): Request {
  let output = "";
  let request: Extract<Request, { kind: "run" }> | undefined;
  const configure = (command: Command): Command =>
    command
      .exitOverride()
      .configureOutput({
        writeOut: (text) => {
          output += text;
        },
        writeErr: () => {},
      })
      .helpOption("-h, --help", "show this help");
  const program = configure(new Command("kmend"))
    .description("Live patching for Linux: from a source patch to a proven change in the running kernel.")
    .version(version(), "-V, --version", "print the version")
    .helpCommand("help [COMMAND]", "show the help of a command")
    .usage("COMMAND [options]")
    .addHelpText("after", `\nExit codes:\n${formatExitCodes(exitCodeMeanings)}`);
  for (const definition of table) {
    const command = configure(program.command(definition.name))
      .summary(definition.summary)
      .description(definition.description)
      .addHelpText("after", () => helpAfter(definition));
    for (const { name, description } of definition.arguments) {
      command.argument(name.startsWith("[") ? name : `<${name}>`, description);
    }
    for (const option of [...definition.options, ...commonOptions]) command.addOption(toOption(option));
    command.action(() => {
      request = { kind: "run", command: definition, operands: command.args, options: new OptionValues(command.opts()) };
    });
  }
  try {
    program.parse([...args], { from: "user" });
    if (request !== undefined) requireWords(program, request.operands);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { kind: "text", text: output };
    throw usageError(error, args, table);
  }
  if (request === undefined) throw new Error("commander chose no command");
  return request;
}

/** The row of an option as commander knows it. */
export function toOption(definition: OptionDefinition): Option {
  const option = new Option(definition.flags, definition.description);
  if (definition.counted) {
    return option.argParser((_value, previous: number | undefined) => (previous ?? 0) + 1);
  }
  const { minimum } = definition;
  if (minimum !== undefined) return option.argParser((value) => parseInteger(value, minimum));
  const wanted = namesSomething.test(definition.flags) ? requireText : (value: string): string => value;
  if (definition.repeatable) {
    return option.argParser((value, previous: readonly string[] | undefined) => [...(previous ?? []), wanted(value)]);
  }
  return wanted === requireText ? option.argParser(wanted) : option;
}

/** Values that name something: an empty one is a variable of a script that is not set, and would be taken for the present folder or for a default. */
const namesSomething = /<(?:FILE|DIR|TARBALL\|DIR|COMMIT|ID|RELEASE)>$/;

function requireText(value: string): string {
  if (value === "") throw new InvalidArgumentError("It is empty.");
  return value;
}

/** Ends the reading of a command line in which an operand is empty, for the same reason. */
export function requireWords(command: Command, operands: readonly string[]): void {
  if (operands.includes("")) command.error("error: an operand is empty");
}

function parseInteger(value: string, minimum: number): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number) || number < minimum) {
    throw new InvalidArgumentError(`It has to be a whole number of at least ${minimum}.`);
  }
  return number;
}

function usageError(error: CommanderError, args: readonly string[], table: readonly CommandDefinition[]): KmendError {
  const command = table.find(({ name }) => name === args[0]);
  const help = `${command === undefined ? "kmend" : `kmend ${command.name}`} --help`;
  const text = error.message.replace(/^error: /, "").trim();
  const [message = "", ...suggestion] = text.split("\n");
  const missing = error.code === "commander.help" ? "a command is missing" : message.replace(/\.$/, "");
  const advice = suggestion.join(" ").replace(/^\(|\)$/g, "");
  const hint = advice === "" ? `${help} shows what there is` : `${advice} (${help} shows all)`;
  return new KmendError({ code: "USAGE", message: missing, hint, exitCode: ExitCode.usage });
}

function helpAfter(definition: CommandDefinition): string {
  const examples = definition.examples.map(({ command, description }) => `  ${command}\n      ${description}`);
  const codes = { 0: exitCodeMeanings[0], ...definition.exitCodes };
  return `\nExamples:\n${examples.join("\n")}\n\nExit codes:\n${formatExitCodes(codes)}`;
}

function formatExitCodes(codes: Readonly<Partial<Record<number, string | undefined>>>): string {
  return Object.entries(codes)
    .map(([code, meaning]) => `  ${code.padStart(3)}  ${meaning}`)
    .join("\n");
}

/** What `-q`, `-v` and `-vv` add up to. */
export function verbosityOf(options: OptionValues): Verbosity {
  if (options.flag("quiet")) return 0;
  const count = options.integer("verbose") ?? 0;
  return count >= 2 ? 3 : count === 1 ? 2 : 1;
}

import { ExitCode } from "../../support/errors.ts";
import { version } from "../../support/version.ts";
import type { ArgumentDefinition, OptionDefinition } from "../command.ts";
import { OptionValues } from "../command.ts";
import { traceOf } from "../report/problem.ts";
import type { CommandIo } from "../run-command-line.ts";
import { Reporter, type Verbosity } from "../terminal/reporter.ts";
import { failureOf, parseOlder, tellFailure } from "./older-program.ts";

/** Exit codes of the ksplice programs: 66 when nothing changed, 255 for every failure. */
export const KspliceExit = { done: 0, usage: 1, unchanged: 66, failure: 255 } as const;

/** One of the ksplice programs. */
export interface KspliceProgram {
  readonly name: string;
  readonly description: string;
  readonly argument: ArgumentDefinition | undefined;
  readonly options: readonly OptionDefinition[];
  /** @returns the exit code. */
  run(session: KspliceSession): Promise<number>;
}

/** One call of a program. */
export interface KspliceSession {
  readonly operand: string | undefined;
  readonly options: OptionValues;
  readonly reporter: Reporter;
  readonly io: CommandIo;
  /** -1 for `-q`, 1 for `-v`, 2 for `-vv`. */
  readonly verbosity: number;
  /** `--raw-errors`. */
  readonly raw: boolean;
  print(line: string): void;
  warn(text: string): void;
}

/** Options that all of the programs have. */
export const kspliceOptions: readonly OptionDefinition[] = [
  {
    flags: "-v, --verbose",
    description: "show each step and program; twice: also the output of programs",
    counted: true,
  },
  { flags: "-q, --quiet", description: "print less" },
  { flags: "--raw-errors", description: "print a failure as a code alone" },
];

/** Errors that the arguments of the command line show by themselves, whatever is in the file system: wrong usage. */
const usageCodes: ReadonlySet<string> = new Set(["USAGE", "UPDATE_ID", "PATCH_OPTION", "EXTENSION_NAME"]);

const apiVersionOption: OptionDefinition = {
  flags: "--api-version",
  description: "show the version of this interface",
};

/** Version of the programs' interface, as --api-version prints it. */
const apiVersion = 2;

/** Makes a program out of its description: options, help, version, and how failures end. */
export function kspliceProgram(program: KspliceProgram): (args: readonly string[], io: CommandIo) => Promise<ExitCode> {
  return async (args, io) => (await runProgram(program, args, io)) as ExitCode;
}

async function runProgram(program: KspliceProgram, args: readonly string[], io: CommandIo): Promise<number> {
  const { stdout, stderr } = io;
  const parsed = parseOlder(
    {
      name: program.name,
      description: program.description,
      version: `Ksplice version ${version()} (kmend)`,
      versionFlags: "--version",
      helpFlags: "-?, --help",
      argument:
        program.argument === undefined ? undefined : { ...program.argument, name: `[${program.argument.name}]` },
      options: [apiVersionOption, ...program.options, ...kspliceOptions],
    },
    args,
  );
  const { command } = parsed;
  if (parsed.kind === "text") {
    const { text, problem } = parsed;
    const isVersion = problem.code === "commander.version";
    (isVersion ? stdout : stderr).write(
      isVersion ? text : `${text}${problem.exitCode === 0 ? "" : `${command.helpInformation()}`}`,
    );
    return isVersion ? KspliceExit.done : KspliceExit.usage;
  }
  const options = new OptionValues(command.opts());
  if (options.flag("apiVersion")) {
    stdout.write(`${apiVersion}\n`);
    return KspliceExit.done;
  }
  const verbosity = options.flag("quiet") ? -1 : Math.min(2, options.integer("verbose") ?? 0);
  const raw = options.flag("rawErrors");
  const reporter = new Reporter(stderr, raw ? 0 : ((verbosity + 1) as Verbosity));
  try {
    return await program.run({
      operand: command.args[0],
      ...{ options, reporter, io, verbosity, raw },
      print: (line) => void stdout.write(`${line}\n`),
      warn: (line) => void stderr.write(line),
    });
  } catch (thrown) {
    reporter.stop();
    const error = failureOf(thrown, io);
    if (raw) stderr.write(`OTHER\n${error.message}\n`);
    else tellFailure(error, io);
    if (verbosity === 2) stderr.write(`${traceOf(thrown)}\n`);
    if (error.exitCode === ExitCode.interrupted) return KspliceExit.usage;
    if (!usageCodes.has(error.code)) return KspliceExit.failure;
    if (!raw && error.code === "USAGE") stderr.write(command.helpInformation());
    return KspliceExit.usage;
  } finally {
    reporter.stop();
  }
}

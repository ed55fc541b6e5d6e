import { ExitCode, type KmendError } from "../support/errors.ts";
import { sanitiseJson } from "../support/sanitise.ts";
import type { CommandContext, Problem } from "./command.ts";
import { parseCommandLine, verbosityOf } from "./options/parse.ts";
import { asKmendError, errorToJson, formatProblem, interruptedError, traceOf } from "./report/problem.ts";
import { type ProgressStream, Reporter, type Verbosity } from "./terminal/reporter.ts";
import { type StreamTraits, styleFor } from "./terminal/style.ts";
import { terminal } from "./terminal/terminal.ts";

/** The world of a command line: the real streams, or a test's. */
export interface CommandIo {
  readonly stdout: StreamTraits & { write(text: string): unknown };
  readonly stderr: ProgressStream;
  /** Aborted when the user interrupts. */
  readonly signal: AbortSignal;
}

/** Runs one command line to its end and reports every failure. @returns the exit code. */
export async function runCommandLine(args: readonly string[], io: CommandIo): Promise<ExitCode> {
  const { signal } = io;
  const [stdout, stderr] = [terminal(io.stdout), terminal(io.stderr)];
  // An error of the command line itself comes before its options are known.
  let json = args.includes("--json");
  let verbosity: Verbosity = 1;
  let reporter: Reporter | undefined;
  try {
    const request = parseCommandLine(args);
    if (request.kind === "text") {
      stdout.write(request.text);
      return ExitCode.done;
    }
    json = request.options.flag("json");
    verbosity = verbosityOf(request.options);
    const shown = new Reporter(stderr, verbosity);
    reporter = shown;
    const context: CommandContext = {
      print: (line) => void stdout.write(`${line}\n`),
      printJson: (value) => void stdout.write(`${sanitiseJson(value)}\n`),
      printProblem: (problem) => void stderr.write(formatProblem(problem, styleFor(stderr))),
      printWarning: (text) => shown.warning(text),
      json,
      style: styleFor(stdout),
      progress: shown,
      signal,
    };
    return await request.command.run(context, request.operands, request.options);
  } catch (thrown) {
    reporter?.stop();
    const known = asKmendError(thrown);
    const error = signal.aborted && known.exitCode !== ExitCode.interrupted ? interruptedError() : known;
    if (json) stdout.write(`${sanitiseJson(errorToJson(error))}\n`);
    stderr.write(formatProblem(problemOf(error), styleFor(stderr)));
    if (verbosity === 3) stderr.write(`${traceOf(thrown)}\n`);
    return error.exitCode;
  } finally {
    reporter?.stop();
  }
}

function problemOf({ code, message, where, why, hint }: KmendError): Problem {
  return { kind: "error", code, message, where, why, hint };
}

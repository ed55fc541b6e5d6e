import { KmendError } from "../../support/errors.ts";
import { findProgram } from "../../support/find-program.ts";
import { once } from "../../support/once.ts";
import { run } from "../../support/run.ts";

/** What a command of kmend that ran as a process of its own came to. */
export interface ChildResult {
  /** What it printed with `--json`. */
  readonly value: unknown;
  /** What it said about its progress. */
  readonly log: string;
}

/** A failure of a step with the log of what led to it. */
export class StepError extends KmendError {
  readonly log: string;

  constructor(details: ConstructorParameters<typeof KmendError>[0], log: string) {
    super(details);
    this.log = log;
  }
}

/** util-linux has it; without it a command outlives the worker that is killed with SIGKILL, and its result is thrown away. */
const deathSignal = once(async () => {
  const setpriv = await findProgram("setpriv");
  return setpriv === undefined ? [] : [setpriv, "--pdeathsig", "TERM", "--"];
});

/**
 * Runs a command of kmend, with `--json`, in a process of its own: what a build takes in memory or falls over ends with it, it ends with this process, and several run
 * side by side.
 * @throws StepError `CHILD_FAILED` for one that ended without a result.
 */
export async function childCommand(
  program: readonly string[],
  words: readonly string[],
  signal: AbortSignal | undefined,
): Promise<ChildResult> {
  const [command = "", ...options] = words;
  const [file = "", ...rest] = [...(await deathSignal()), ...program, command, "--json", ...options];
  const { stdout, stderr, exitCode } = await run(file, rest, { signal, allowFailure: true });
  signal?.throwIfAborted();
  try {
    return { value: JSON.parse(stdout), log: stderr };
  } catch (cause) {
    const end = exitCode < 0 ? "was killed" : `ended with exit code ${exitCode}`;
    const details = {
      code: "CHILD_FAILED",
      message: `kmend ${command} ${end} without a result`,
      why: stderr.trimEnd().split("\n").slice(-10).join("\n"),
      hint: "look for a lack of memory on that machine (dmesg)",
      cause,
    };
    throw new StepError(details, stderr);
  }
}

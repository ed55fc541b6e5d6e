import { ExitCode, systemErrorCode } from "../support/errors.ts";
import { compatibleProgram } from "./compat/names.ts";
import { runCommandLine } from "./run-command-line.ts";
import { terminal } from "./terminal/terminal.ts";

// Compile commands in the cache are run again: nobody else may write there, whatever umask groups of users agree on.
process.umask(process.umask() | 0o022);

const interrupt = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => {
    // The first one lets the command clean up, the second one does not wait for that.
    if (interrupt.signal.aborted) process.exit(ExitCode.interrupted);
    interrupt.abort();
  });
}

/** A reader that goes away, as `| head` does, is no failure. */
function ignoreBrokenPipe(error: Error): void {
  if (systemErrorCode(error) !== "EPIPE") throw error;
}
process.stdout.on("error", ignoreBrokenPipe);
process.stderr.on("error", ignoreBrokenPipe);

/** The program that this process was called as, from its command line to its exit code. */
async function main(): Promise<void> {
  const run = (await compatibleProgram(process.argv[1] ?? "")) ?? runCommandLine;
  process.exitCode = await run(process.argv.slice(2), {
    stdout: terminal(process.stdout),
    stderr: terminal(process.stderr),
    signal: interrupt.signal,
  });
}

// Without await at the top, so that it can be a script of the kind that Node takes into an executable.
void main();

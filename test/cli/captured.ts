import { runCommandLine } from "../../src/cli/run-command-line.ts";

/** What one command line printed and how it ended. */
export interface Captured {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in this process, without a terminal. */
export async function kmend(...words: string[]): Promise<Captured> {
  let stdout = "";
  let stderr = "";
  const exitCode = await runCommandLine(words, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    signal: new AbortController().signal,
  });
  return { exitCode, stdout, stderr };
}

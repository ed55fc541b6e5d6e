import { ExitCode, KmendError, messageOf } from "../../support/errors.ts";
import type { Problem } from "../command.ts";
import type { Style } from "../terminal/style.ts";

/** An error as a person reads it: what, where, why and what to do, each on lines of its own. */
export function formatProblem(problem: Problem, style: Style): string {
  const lines = [
    `${style(["bold", "red"], `${problem.kind}[${problem.code}]:`)} ${problem.message.trimEnd().split("\n").join("\n  ")}`,
  ];
  for (const label of ["where", "why", "hint"] as const) {
    const text = problem[label];
    if (text === undefined || text === "") continue;
    const indent = " ".repeat(label.length + 4);
    lines.push(`  ${style("bold", `${label}:`)} ${text.trimEnd().split("\n").join(`\n${indent}`)}`);
  }
  return `${lines.join("\n")}\n`;
}

/** Turns anything that was thrown into an expected failure; a broken invariant asks to be reported. */
export function asKmendError(error: unknown): KmendError {
  if (error instanceof KmendError) return error;
  return new KmendError({
    code: "INTERNAL",
    message: `kmend failed unexpectedly: ${messageOf(error)}`,
    hint: "run the command again with -vv and report what it prints",
    cause: error,
  });
}

/** The `--json` of a failure; the same for every command. */
export function errorToJson(error: KmendError): object {
  const { code, message, where = null, why = null, hint = null } = error;
  return { schema: 1, outcome: "failed", error: { code, message, where, why, hint } };
}

/** What an interrupt by the user ends with. */
export function interruptedError(): KmendError {
  return new KmendError({ code: "INTERRUPTED", message: "interrupted", exitCode: ExitCode.interrupted });
}

/** Stack traces of an error and of everything that caused it, for `-vv`. */
export function traceOf(error: unknown): string {
  const parts: string[] = [];
  for (let current = error; current !== undefined && parts.length < 8; ) {
    parts.push(current instanceof Error ? (current.stack ?? current.message) : String(current));
    current = current instanceof Error ? current.cause : undefined;
  }
  return parts.join("\ncaused by: ");
}

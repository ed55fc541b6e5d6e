/**
 * Exit codes of the `kmend` command (docs/architecture.md, Exit codes). The `compat/` names keep those of the tools they replace.
 */
export const ExitCode = {
  done: 0,
  failure: 1,
  usage: 2,
  unchanged: 3,
  refused: 4,
  environment: 5,
  stalled: 6,
  policy: 7,
  interrupted: 130,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** What an expected failure tells: each field is one sentence for a person, `code` one word for a program. */
export interface ErrorDetails {
  /** Stable identifier, upper case with underscores, for example `PATCH_DOES_NOT_APPLY`. */
  readonly code: string;
  /** What went wrong, without a full stop. */
  readonly message: string;
  /** File, function, section or offset that it happened at. */
  readonly where?: string | undefined;
  /** Why that is a problem. */
  readonly why?: string | undefined;
  /** What to do next; a command to type where there is one. */
  readonly hint?: string | undefined;
  readonly exitCode?: ExitCode | undefined;
  readonly cause?: unknown;
}

/** An expected failure. A broken invariant is a plain `Error` instead. */
export class KmendError extends Error {
  readonly code: string;
  readonly where: string | undefined;
  readonly why: string | undefined;
  readonly hint: string | undefined;
  readonly exitCode: ExitCode;

  constructor(details: ErrorDetails) {
    super(details.message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "KmendError";
    this.code = details.code;
    this.where = details.where;
    this.why = details.why;
    this.hint = details.hint;
    this.exitCode = details.exitCode ?? ExitCode.failure;
  }
}

/** Text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node system error such as `ENOENT`, or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

import { ExitCode, KmendError } from "../../support/errors.ts";

/** The error for words that a program does not understand. */
export function usageError(program: string, message: string): KmendError {
  return new KmendError({
    code: "USAGE",
    message,
    hint: `${program} --help shows what there is`,
    exitCode: ExitCode.usage,
  });
}

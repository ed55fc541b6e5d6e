import { ExitCode, KmendError } from "../../support/errors.ts";

/**
 * The error for arguments that a program does not understand.
 * @param program as it is called, with the command if it has several: `kmend view`.
 */
export function usageError(program: string, message: string): KmendError {
  return new KmendError({
    code: "USAGE",
    message,
    hint: `${program} --help shows what there is`,
    exitCode: ExitCode.usage,
  });
}

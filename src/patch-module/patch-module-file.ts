import { ExitCode, KmendError, systemErrorCode } from "../support/errors.ts";
import { readInputFile } from "../support/input-file.ts";

/** Reads the file of a patch module. @throws KmendError `NOT_A_PATCH_MODULE` (exit 2) when there is none, or a folder in its place. */
export async function readPatchModuleFile(path: string): Promise<Buffer> {
  try {
    return await readInputFile(path);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "ENOENT") throw notAPatchModule(path, "there is no such file", error);
    if (code === "EISDIR") throw notAPatchModule(path, "it is a folder", error);
    throw error;
  }
}

/** The error (exit 2) of everything that takes a patch module and was given something else. */
export function notAPatchModule(path: string, problem: string, cause?: unknown): KmendError {
  return new KmendError({
    code: "NOT_A_PATCH_MODULE",
    message: `${path} is not a patch module: ${problem}`,
    hint: "kmend build makes one from a patch; kmend list shows the installed ones",
    exitCode: ExitCode.usage,
    cause,
  });
}

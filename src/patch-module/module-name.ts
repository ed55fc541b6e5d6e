import { basename } from "node:path";
import { ExitCode, KmendError } from "../support/errors.ts";

/** MODULE_NAME_LEN of include/linux/module.h is 56 on 64-bit kernels, the closing zero included. */
export const longestModuleName = 55;

/**
 * Name of the patch module: the given one, else `livepatch-` and the name of the only patch (`livepatch-patch` for several). Everything but letters,
 * digits, `-` and `_` becomes `-`.
 * @throws KmendError `MODULE_NAME` (exit 2) for a given name that is empty, too long, or has other characters.
 */
export function moduleName(given: string | undefined, patches: readonly string[]): string {
  if (given !== undefined) {
    if (!/^[A-Za-z0-9_-]+$/.test(given) || given.length > longestModuleName) {
      throw new KmendError({
        code: "MODULE_NAME",
        message: `"${given}" cannot be the name of a module`,
        why: `a name has 1 to ${longestModuleName} letters, digits, dashes and underscores`,
        hint: "choose another with --name",
        exitCode: ExitCode.usage,
      });
    }
    return given;
  }
  const only = patches.length === 1 ? basename(patches[0] as string).replace(/\.(patch|diff)$/, "") : "patch";
  const name = `livepatch-${only.replace(/[^A-Za-z0-9_-]/g, "-")}`;
  return name.slice(0, longestModuleName);
}

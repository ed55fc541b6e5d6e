import { stat } from "node:fs/promises";
import { environmentVariable } from "../support/environment.ts";
import { ExitCode, KmendError } from "../support/errors.ts";

/**
 * SOURCE_DATE_EPOCH, in seconds since 1970 (https://reproducible-builds.org/specs/source-date-epoch/); undefined where it is not set.
 * @throws KmendError `SOURCE_DATE` (exit 2) for one that is no time.
 */
export function sourceDateEpoch(): number | undefined {
  const given = environmentVariable("SOURCE_DATE_EPOCH") ?? "";
  if (given === "") return undefined;
  if (/^\d{1,11}$/.test(given)) return Number(given);
  throw new KmendError({
    code: "SOURCE_DATE",
    message: `SOURCE_DATE_EPOCH is "${given}"`,
    why: "it has to be a number of seconds since 1970",
    hint: "unset it, or set it with: export SOURCE_DATE_EPOCH=$(date +%s)",
    exitCode: ExitCode.usage,
  });
}

/**
 * The time that a package carries, in seconds since 1970: SOURCE_DATE_EPOCH, else when the newest of its inputs was changed, so that the same files give the same
 * package.
 * @throws KmendError `SOURCE_DATE` (exit 2), see {@link sourceDateEpoch}.
 */
export async function sourceDate(inputs: readonly string[]): Promise<number> {
  const given = sourceDateEpoch();
  if (given !== undefined) return given;
  const times = await Promise.all(inputs.map(async (path) => (await stat(path)).mtimeMs));
  return times.length === 0 ? Math.floor(Date.now() / 1000) : Math.floor(Math.max(...times) / 1000);
}

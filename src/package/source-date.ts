import { stat } from "node:fs/promises";
import { ExitCode, KmendError } from "../support/errors.ts";

/**
 * The time that a package carries, in seconds since 1970: SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/), else when the newest
 * of its inputs was changed, so that the same files give the same package.
 * @throws KmendError `SOURCE_DATE` (exit 2) for a SOURCE_DATE_EPOCH that is no time.
 */
export async function sourceDate(inputs: readonly string[]): Promise<number> {
  const given = process.env["SOURCE_DATE_EPOCH"];
  if (given !== undefined && given !== "") {
    if (/^\d{1,11}$/.test(given)) return Number(given);
    throw new KmendError({
      code: "SOURCE_DATE",
      message: `SOURCE_DATE_EPOCH is "${given}"`,
      why: "it has to be a number of seconds since 1970",
      hint: "unset it, or set it with: export SOURCE_DATE_EPOCH=$(date +%s)",
      exitCode: ExitCode.usage,
    });
  }
  const times = await Promise.all(inputs.map(async (path) => (await stat(path)).mtimeMs));
  return times.length === 0 ? Math.floor(Date.now() / 1000) : Math.floor(Math.max(...times) / 1000);
}

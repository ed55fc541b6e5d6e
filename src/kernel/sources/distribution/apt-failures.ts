import { cachePath } from "../../../support/cache.ts";
import { ExitCode, KmendError } from "../../../support/errors.ts";
import type { RunResult } from "../../../support/run.ts";
import { type AptArchive, updateHint } from "./apt-archive.ts";

interface Failure {
  readonly pattern: RegExp;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

const noSpace: Failure = {
  pattern: /No space left on device|enough free space|Wrote only \d+ of/,
  code: "NO_SPACE",
  message: "no space left on the disk",
  hint: "free some space, or choose another cache folder with KMEND_CACHE=DIR",
};

/** What apt-get prints, and what it means; the first row that matches counts. Texts are those of apt 2.6 in the C locale. */
const downloadFailures: readonly Failure[] = [
  noSpace,
  {
    pattern: /Can't find a source to download|was not found|Unable to locate package|No packages found/,
    code: "PACKAGE_NOT_OFFERED",
    message: "the archive does not offer this version of the package any more",
    hint: "run apt-get update, and choose one of the kernels that kmend then lists",
  },
  {
    pattern: /\b404\b/,
    code: "LISTS_OUTDATED",
    message: "the archive no longer has a file that the local package lists name",
    hint: "run: sudo apt-get update",
  },
  {
    pattern: /NO_PUBKEY|is not signed|signatures? (?:could|can)n't be verified|does not have a Release file/,
    code: "ARCHIVE_UNVERIFIED",
    message: "apt cannot verify the archive's signature",
    hint: "name the keyring of the archive with Signed-By: in its sources",
  },
  {
    pattern: /Hash Sum mismatch|Size mismatch|unexpected size|Clearsigned file isn't valid|Connection closed/i,
    code: "DOWNLOAD_BROKEN",
    message: "the downloaded file is not what the archive signed",
    hint: "try again; if it happens again, look for a broken proxy or mirror",
  },
  {
    pattern: /resolv|Could not connect|Unable to connect|Connection (refused|timed out|failed)|unreachable|Timeout/i,
    code: "NO_NETWORK",
    message: "the package archive cannot be reached",
    hint: "check the network and the proxy settings of apt, then try again",
  },
];

/**
 * What a failed apt-get meant.
 * @param what the command or package, for the message.
 * @param apt whose archives were asked; default this machine's.
 */
export function explainDownloadFailure(result: RunResult, what: string, apt?: AptArchive): KmendError {
  const lines = result.all.split("\n").filter((line) => /^(E|W|Err)[ :]/.test(line));
  const found = downloadFailures.find(({ pattern }) => pattern.test(result.all));
  const isOfFile = apt?.file !== undefined && found?.hint.includes("apt-get update") === true;
  const row = found !== undefined && isOfFile ? { ...found, hint: updateHint(apt) } : found;
  return failure(row, result, what, lines, {
    code: "DOWNLOAD_FAILED",
    message: "apt-get failed",
    hint: "repair what apt-get complains about, then try again",
  });
}

/** What it meant that dpkg-deb could not unpack a package that apt-get had just downloaded. */
export function explainUnpackFailure(result: RunResult, archive: string): KmendError {
  const row = noSpace.pattern.test(result.all) ? noSpace : undefined;
  return failure(row, result, archive, [], {
    code: "PACKAGE_DAMAGED",
    message: "a downloaded package cannot be unpacked",
    hint: "try again: kmend downloads the package again",
  });
}

function failure(
  row: Failure | undefined,
  result: RunResult,
  where: string,
  lines: readonly string[],
  otherwise: Pick<Failure, "code" | "message" | "hint">,
): KmendError {
  const { code, message, hint } = row ?? otherwise;
  const said = lines.length > 0 ? lines : result.all.trimEnd().split("\n");
  return new KmendError({
    code,
    message,
    where,
    why: said.slice(-5).join("\n"),
    hint: row === noSpace ? `${hint} (now ${cachePath()})` : hint,
    exitCode: row === noSpace ? ExitCode.failure : ExitCode.environment,
    cause: result,
  });
}

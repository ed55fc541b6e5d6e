import { open, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { rethrowDiskErrors, sha256 } from "../../../support/cache.ts";
import { ExitCode, KmendError } from "../../../support/errors.ts";
import { makeFolder } from "../../../support/make-folder.ts";
import { run } from "../../../support/run.ts";

/** Where and under whose orders RPMs are read. */
export interface RpmContext {
  /** The kmend cache folder. */
  readonly cache: string;
  readonly signal?: AbortSignal | undefined;
}

/** What the header of an RPM says. */
export interface RpmFile {
  readonly path: string;
  readonly name: string;
  readonly version: string;
  readonly release: string;
  readonly architecture: string;
  readonly isSource: boolean;
  /** File name of the source RPM that a binary package was built from, for example `kernel-5.14.0-427.el9.src.rpm`. */
  readonly sourceRpm: string | undefined;
  /** Paths that it installs, or the names of its sources. */
  readonly files: readonly string[];
  /** Names of the spec files in a source RPM: there is one. */
  readonly specs: readonly string[];
  /** SHA-256 over the digests in the header, which cover header and payload. */
  readonly digest: string;
}

/** `kernel-5.14.0-427.el9`. */
export function nameVersionRelease({ name, version, release }: RpmFile): string {
  return `${name}-${version}-${release}`;
}

/** Name of the source RPM that its binary packages name in their headers. */
export function sourceRpmName(rpm: RpmFile): string {
  return `${nameVersionRelease(rpm)}.src.rpm`;
}

/**
 * Folder of kmend's own in place of the RPM database: nothing is installed, and reading a file must neither ask nor make the database of the system or
 * of the user.
 */
export function databaseOptions(cache: string): string[] {
  return ["--dbpath", join(cache, "rpms", "db")];
}

const fields = [
  "NAME",
  "VERSION",
  "RELEASE",
  "ARCH",
  "SOURCERPM",
  "SOURCEPACKAGE",
  "SHA256HEADER",
  "SHA1HEADER",
  "SIGMD5",
];
const format = `${fields.map((field) => `%{${field}}`).join("\\t")}\\n[%{FILEFLAGS:fflags}\\t%{FILENAMES}\\n]`;

/**
 * Reads the header of an RPM.
 * @throws KmendError `RPM_MISSING`, `NOT_AN_RPM` (exit 2), `FILE_UNREADABLE`.
 */
export async function readRpm(path: string, context: RpmContext): Promise<RpmFile> {
  await requireReadable(path);
  await makeFolder(join(context.cache, "rpms")).catch(rethrowDiskErrors);
  const words = ["-qp", ...databaseOptions(context.cache), "--nosignature", "--qf", format, path];
  const { exitCode, stdout, stderr } = await run("rpm", words, { signal: context.signal, allowFailure: true });
  context.signal?.throwIfAborted();
  const [first = "", ...lines] = stdout.split("\n");
  const [name, version, release, architecture, sourceRpm, isSource, ...digests] = first.split("\t");
  if (exitCode !== 0 || name === undefined || version === undefined || release === undefined)
    throw notRpm(path, stderr);
  const files = lines.filter(Boolean).map((line) => line.split("\t") as [flags: string, path: string]);
  return {
    ...{ path, name, version, release },
    architecture: architecture ?? "",
    isSource: isSource === "1",
    sourceRpm: sourceRpm === "(none)" ? undefined : sourceRpm,
    files: files.map(([, file]) => file),
    specs: files.filter(([flags]) => flags.includes("s")).map(([, file]) => file),
    digest: sha256(digests.join(" ")),
  };
}

async function requireReadable(path: string): Promise<void> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined) {
    throw new KmendError({
      code: "RPM_MISSING",
      message: `${path} does not exist`,
      hint: "give the path of an RPM file",
      exitCode: ExitCode.usage,
    });
  }
  if (!info.isFile()) throw notRpm(path, "it is not a file");
  const file = await open(path).catch((error: unknown) => {
    throw new KmendError({
      code: "FILE_UNREADABLE",
      message: `${basename(path)} cannot be read`,
      where: path,
      hint: "give a readable copy",
      cause: error,
    });
  });
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(magic.length), 0, magic.length, 0);
    if (bytesRead < magic.length || !buffer.equals(magic))
      throw notRpm(path, "its first bytes are not those of an RPM");
  } finally {
    await file.close();
  }
}

/** Start of every RPM (its lead). rpm(8) takes a file without it for a list of packages, and would open what it names. */
const magic = Buffer.from([0xed, 0xab, 0xee, 0xdb]);

function notRpm(path: string, said: string): KmendError {
  return new KmendError({
    code: "NOT_AN_RPM",
    message: `${basename(path)} is not an RPM package, or its header is truncated`,
    where: path,
    why: said
      .trim()
      .split("\n")[0]
      ?.replace(/^error: /, ""),
    hint: "download it again, and compare its size with that on the server",
    exitCode: ExitCode.usage,
  });
}

/**
 * Unpacks files of an RPM whose digests are right.
 * @param patterns of cpio(1), against names that start with `./`; all files without one.
 * @throws KmendError `RPM_DAMAGED`, `NO_SPACE`.
 */
export async function unpackRpm(
  rpm: RpmFile,
  folder: string,
  patterns: readonly string[],
  context: RpmContext,
): Promise<void> {
  const { signal } = context;
  const check = ["-K", ...databaseOptions(context.cache), "--nosignature", rpm.path];
  const checked = await run("rpmkeys", check, { signal, allowFailure: true });
  signal?.throwIfAborted();
  if (checked.exitCode !== 0) throw damaged(rpm, checked.all);
  await makeFolder(folder).catch(rethrowDiskErrors);
  // Owners of the package would need root, and names that lead out of the folder are none that a package may have.
  const script =
    'set -o pipefail; rpm2cpio "$1" | { cd "$2"; shift 2; cpio -idmu --quiet --no-absolute-filenames --no-preserve-owner "$@"; }';
  const words = ["-c", script, "unpack", rpm.path, folder, ...patterns];
  const result = await run("bash", words, { signal, allowFailure: true });
  signal?.throwIfAborted();
  if (result.exitCode === 0) return;
  if (/No space left on device/.test(result.all)) rethrowDiskErrors(new Error("No space left on device"));
  throw damaged(rpm, result.all);
}

function damaged(rpm: RpmFile, said: string): KmendError {
  return new KmendError({
    code: "RPM_DAMAGED",
    message: `${basename(rpm.path)} is damaged, or its download is incomplete`,
    where: rpm.path,
    why: said.trim().split("\n").slice(-3).join("\n"),
    hint: "download it again, and compare its size with that on the server",
  });
}

import { open, realpath, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { rethrowDiskErrors, temporaryBeside, writeFileAtomically } from "./cache.ts";
import { ExitCode, KmendError, messageOf, systemErrorCode } from "./errors.ts";

/**
 * Makes sure, before any work is done for it, that something can be written into the folder of the results: a file is made there and removed. A disk that is
 * full takes an empty file but no content, so some is written.
 * @throws KmendError `OUTPUT_MISSING` (exit 2), `NOT_WRITABLE`, `NO_SPACE`
 */
export async function requireOutputFolder(output: string): Promise<void> {
  const found = await stat(output).catch(() => undefined);
  if (found?.isDirectory() !== true) {
    throw new KmendError({
      code: "OUTPUT_MISSING",
      message: found === undefined ? `the output folder ${output} does not exist` : `${output} is not a folder`,
      hint: found === undefined ? `make it first: mkdir -p ${output}` : "give a folder with -o DIR",
      exitCode: ExitCode.usage,
    });
  }
  const path = temporaryBeside(join(output, "kmend-output"));
  try {
    const file = await open(path, "wx");
    try {
      // Without a name, nothing is left of it when this process is killed.
      await rm(path);
      await file.writeFile(new Uint8Array(trialSize));
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    // A write that fails does not say where.
    if (error instanceof Error && !("path" in error)) Object.assign(error, { path });
    const isKnown = ["ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST"];
    if (isKnown.includes(systemErrorCode(error) ?? "")) rethrowDiskErrors(error);
    throw new KmendError({
      code: "NOT_WRITABLE",
      message: `cannot write into the output folder ${output}: ${messageOf(error)}`,
      hint: "choose a folder of a file system that keeps files",
      exitCode: ExitCode.environment,
      cause: error,
    });
  } finally {
    await rm(path, { force: true }).catch(() => {});
  }
}

/**
 * Where a file that is written whole and then renamed has to go: behind the links that lead there. Something else in its place, such as a device or a FIFO, would be
 * gone afterwards: root may rename a file over `/dev/null`.
 * @param inputs paths of files that the same command reads, which must not be lost either.
 * @throws KmendError `NOT_A_FILE` (exit 2) for a folder, device, FIFO or socket, `OUTPUT_IS_INPUT` (exit 2)
 */
export async function requireOutputFile(path: string, inputs: readonly string[] = []): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return path;
  if (found.isFile()) {
    for (const input of inputs) {
      const read = await stat(input).catch(() => undefined);
      if (read?.ino === found.ino && read.dev === found.dev) throw outputIsInput(path, input);
    }
    return realpath(path);
  }
  throw new KmendError({
    code: "NOT_A_FILE",
    message: `${path} is ${found.isDirectory() ? "a folder" : "a device, FIFO or socket"}, and no file`,
    hint: "give the name of the file to write; one that is there is replaced",
    exitCode: ExitCode.usage,
  });
}

function outputIsInput(path: string, input: string): KmendError {
  return new KmendError({
    code: "OUTPUT_IS_INPUT",
    message: `${path} is ${path === input ? "read by this command" : `the same file as ${input}, which this command reads`}`,
    why: "it would be lost",
    hint: "give another name for the output",
    exitCode: ExitCode.usage,
  });
}

/** Writes a file where the user wants it, whole or not at all. @throws KmendError those of {@link requireOutputFile}, and of a full or read-only disk */
export async function writeOutputFile(
  path: string,
  content: Uint8Array | string,
  inputs: readonly string[] = [],
): Promise<void> {
  await writeFileAtomically(await requireOutputFile(path, inputs), content).catch(rethrowDiskErrors);
}

/** Bytes that are written for a trial: about a small patch module. */
const trialSize = 1 << 16;

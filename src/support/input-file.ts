import { readFile, stat } from "node:fs/promises";
import { ExitCode, KmendError } from "./errors.ts";

/** A pipe that the caller of the program has opened for it, as `<(git show)` of a shell is. */
const opened = /^\/(dev\/(fd\/\d+|stdin)|proc\/self\/fd\/\d+)$/;

/**
 * Reads a file that a user named, see {@link requireInputFile}.
 * @throws KmendError `NOT_A_FILE` (exit 2); errors of the system for what is missing, or a folder.
 */
export async function readInputFile(path: string): Promise<Buffer> {
  await requireInputFile(path);
  return readFile(path);
}

/**
 * Makes sure that a read of something that a user named begins and ends: what is neither a file nor a pipe that was opened for this program may do neither, and
 * such a read is deaf to signals.
 * @throws KmendError `NOT_A_FILE` (exit 2) for a FIFO, socket or device; errors of the system for what is missing.
 */
export async function requireInputFile(path: string): Promise<void> {
  const info = await stat(path);
  if (!info.isFile() && !info.isDirectory() && !opened.test(path)) {
    throw new KmendError({
      code: "NOT_A_FILE",
      message: `${path} is ${info.isFIFO() ? "a FIFO" : info.isSocket() ? "a socket" : "a device"}, and no file`,
      hint: "write what it holds into a file, and name that",
      exitCode: ExitCode.usage,
    });
  }
}

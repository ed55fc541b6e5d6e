import { constants } from "node:fs";
import { access, readFile, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { environmentVariable } from "./environment.ts";
import { ExitCode, KmendError } from "./errors.ts";

/** Folders that hold programs for administrators and are missing from many users' PATH. */
const administratorFolders = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The first executable file of that name on PATH (or in the sbin folders), or undefined. */
export async function findProgram(
  name: string,
  accept: (path: string) => Promise<boolean> = async () => true,
): Promise<string | undefined> {
  const folders = [...(environmentVariable("PATH") ?? "").split(delimiter).filter(Boolean), ...administratorFolders];
  for (const folder of folders) {
    const candidate = join(folder, name);
    if ((await isExecutable(candidate)) && (await accept(candidate))) return candidate;
  }
  return undefined;
}

/**
 * Makes sure that a program is there which only some inputs need, so that it is in no table of what everybody has to install.
 * @throws KmendError `PROGRAM_MISSING` (exit 5)
 */
export async function requireProgram(name: string, why: string, debianPackage: string): Promise<void> {
  if ((await findProgram(name)) !== undefined) return;
  throw new KmendError({
    code: "PROGRAM_MISSING",
    message: `${name} is not installed`,
    why,
    hint: `install it: sudo apt-get install ${debianPackage}`,
    exitCode: ExitCode.environment,
  });
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

/** True for a 64-bit little-endian ELF program without PT_INTERP (gABI chapter 5), which runs where there are no libraries. */
export async function isStaticProgram(path: string): Promise<boolean> {
  const ptInterp = 3;
  const file = await readFile(path);
  if (file.length < 64 || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) return false;
  const start = Number(file.readBigUInt64LE(32));
  const size = file.readUInt16LE(54);
  const count = file.readUInt16LE(56);
  if (start + size * count > file.length) return false;
  for (let index = 0; index < count; index++) {
    if (file.readUInt32LE(start + index * size) === ptInterp) return false;
  }
  return true;
}

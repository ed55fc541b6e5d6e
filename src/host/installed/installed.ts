import { stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../support/errors.ts";
import { namesIn } from "../kernel/host.ts";
import { type PatchFile, readPatchFile } from "../load/patch-file.ts";

/** Where installed patch modules are, in a folder for each kernel release; shared with kpatch. */
export const installFolder = "/var/lib/kpatch";

/** A patch module that is installed for a kernel. */
export interface InstalledModule {
  readonly release: string;
  /** File name with `.ko`. */
  readonly file: string;
  /** Where it is, the root included. */
  readonly path: string;
  /** When it was installed, in milliseconds since 1970. */
  readonly installedAt: number;
  /** Undefined when the file is no patch module; `problem` then says why. */
  readonly module: PatchFile | undefined;
  readonly problem: string | undefined;
}

/** Folder of the modules for one kernel, below the root. */
export function installFolderOf(root: string, release: string): string {
  return join(root, installFolder, release);
}

/** Releases that have a folder of installed modules, sorted. */
export function installedReleases(root: string): Promise<readonly string[]> {
  return namesIn(root, installFolder, true);
}

/**
 * Modules that are installed for a kernel in the order in which they are loaded at boot: as they were installed, so that a cumulative one comes after those
 * that it was installed to replace; by name where the times are the same.
 */
export async function installedModules(root: string, release: string): Promise<readonly InstalledModule[]> {
  const names = await namesIn(root, join(installFolder, release));
  // A name with a dot in front is a file that is being written.
  const files = names.filter((name) => name.endsWith(".ko") && !name.startsWith("."));
  const modules = await Promise.all(files.map((file) => readInstalled(root, release, file)));
  return modules.sort(
    (one, other) => one.installedAt - other.installedAt || one.file.localeCompare(other.file, "en", { numeric: true }),
  );
}

async function readInstalled(root: string, release: string, file: string): Promise<InstalledModule> {
  const path = join(installFolderOf(root, release), file);
  const installedAt = await stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
  try {
    return { release, file, path, installedAt, module: await readPatchFile(path), problem: undefined };
  } catch (error) {
    return { release, file, path, installedAt, module: undefined, problem: messageOf(error) };
  }
}

/** A module's name as the kernel counts it, from its name or file name: no folder, no `.ko`, underscores for dashes. */
export function kernelModuleName(nameOrFile: string): string {
  return nameOrFile.replace(/^.*\//, "").replace(/\.ko$/, "").replaceAll("-", "_");
}

/** The module that is installed for a kernel under a name, which may be its module's name or its file's. */
export async function findInstalled(root: string, release: string, name: string): Promise<InstalledModule | undefined> {
  const wanted = kernelModuleName(name);
  const modules = await installedModules(root, release);
  return (
    modules.find(({ file }) => file === name || file === `${name}.ko`) ??
    modules.find(({ file, module }) => module?.name === wanted || kernelModuleName(file) === wanted)
  );
}

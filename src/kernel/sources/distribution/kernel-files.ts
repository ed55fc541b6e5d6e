import { constants } from "node:fs";
import { access, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { exists, makeOnce, rethrowDiskErrors } from "../../../support/cache.ts";
import { ExitCode, KmendError } from "../../../support/errors.ts";
import { run } from "../../../support/run.ts";

/** The files of a kernel that its packages hold. */
export interface ImageFiles {
  readonly imagePath: string;
  readonly configPath: string;
  readonly modulesDir: string;
}

/**
 * Where kernel packages have the image, relative to the root. Packages that split the kernel keep it beside the modules; a copy of it that their
 * installation makes in /boot may be older than they are.
 */
const imagePlaces = (release: string): string[] => [...besideModules(release, "vmlinuz"), `boot/vmlinuz-${release}`];

/**
 * Where they have the configuration. What lies beside the image in /boot is whole. Where the image is beside the modules, the configuration there lacks
 * what differs between builds (`CONFIG_BUILD_SALT`, keys of signatures), and the whole one is that of the headers.
 */
function configPlaces(release: string, image: string): string[] {
  const boot = [`boot/config-${release}`];
  const headers = [`usr/src/linux-headers-${release}/.config`];
  const rest = besideModules(release, "config");
  return image.endsWith(`boot/vmlinuz-${release}`) ? [...boot, ...headers, ...rest] : [...headers, ...rest, ...boot];
}

function besideModules(release: string, name: string): string[] {
  return [`usr/lib/modules/${release}/${name}`, `lib/modules/${release}/${name}`];
}

/** Files of an installed kernel, or undefined when one is missing or unreadable. */
export async function installedFiles(root: string, release: string): Promise<ImageFiles | undefined> {
  const imagePath = await firstReadable([root], imagePlaces(release));
  if (imagePath === undefined) return undefined;
  const configPath = await firstReadable([root], configPlaces(release, imagePath));
  const modulesDir = await modulesIn(root, release);
  return configPath !== undefined && (await isReadable(modulesDir)) ? { imagePath, configPath, modulesDir } : undefined;
}

/** Packages of one kernel, unpacked. */
export interface UnpackedKernel {
  readonly release: string;
  readonly version: string;
  /** Names of the packages, for messages. */
  readonly packages: readonly string[];
  /** Folder of each. */
  readonly folders: readonly string[];
  /** Folder that the headers are unpacked or installed below. */
  readonly headers: string;
  /** Folder for what is put together of several. */
  readonly root: string;
}

/**
 * The files of a kernel whose unpacked packages share them between each other: each is where the packages themselves have it.
 * @throws KmendError `KERNEL_FILE_MISSING` (exit 5) when none of them has image or configuration.
 */
export async function unpackedFiles(kernel: UnpackedKernel): Promise<ImageFiles> {
  const { release, version, folders, root } = kernel;
  const imagePath = await firstReadable(folders, imagePlaces(release));
  if (imagePath === undefined) throw missing("image", imagePlaces(release), kernel);
  const places = configPlaces(release, imagePath);
  const configPath = await firstReadable([...folders, kernel.headers], places);
  if (configPath === undefined) throw missing("configuration", places, kernel);
  const withModules: string[] = [];
  for (const folder of folders) {
    const modules = await modulesIn(folder, release);
    if (await exists(modules)) withModules.push(modules);
  }
  const merged = join(root, `modules-${release}_${version}_${withModules.length}`);
  return {
    imagePath,
    configPath,
    modulesDir:
      withModules.length > 1
        ? await mergedModules(withModules, merged)
        : (withModules[0] ?? (await modulesIn(folders[0] as string, release))),
  };
}

function missing(what: string, places: readonly string[], { release, version, packages }: UnpackedKernel): KmendError {
  return new KmendError({
    code: "KERNEL_FILE_MISSING",
    message: `the packages of kernel ${release} ${version} do not hold its ${what}`,
    where: packages.join(", "),
    why: `it is in none of ${places.join(", ")}`,
    hint: "choose another kernel with --kernel, or give the parts by hand: --source DIR --config FILE --image FILE --symvers FILE",
    exitCode: ExitCode.environment,
  });
}

async function modulesIn(root: string, release: string): Promise<string> {
  const merged = join(root, "usr/lib/modules", release);
  return (await exists(merged)) ? merged : join(root, "lib/modules", release);
}

/** One folder with the modules of several packages: links, since nobody changes them. */
function mergedModules(folders: readonly string[], folder: string): Promise<string> {
  return makeOnce(folder, async (temporary) => {
    await mkdir(temporary).catch(rethrowDiskErrors);
    for (const from of folders) await run("cp", ["-al", "--", `${from}/.`, temporary]);
  });
}

async function firstReadable(folders: readonly string[], places: readonly string[]): Promise<string | undefined> {
  for (const place of places) {
    for (const folder of folders) if (await isReadable(join(folder, place))) return join(folder, place);
  }
  return undefined;
}

/** True when this process may read the file. */
export async function isReadable(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
}

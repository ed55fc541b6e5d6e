import { constants } from "node:fs";
import { access, readFile, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { exists } from "../../support/cache.ts";
import { ExitCode, KmendError, systemErrorCode } from "../../support/errors.ts";
import type { KernelBanner } from "../image/banner.ts";
import { unreadable } from "./tree-state.ts";

/** A kernel source tree of the user's, and files that are not found from it. */
export interface SourceTreeRequest {
  readonly path: string;
  readonly config?: string | undefined;
  readonly image?: string | undefined;
  readonly symvers?: string | undefined;
  /** Folder with built modules. */
  readonly modules?: string | undefined;
  /** Further arguments of every `make` in the tree. */
  readonly makeFlags?: readonly string[] | undefined;
  /** Release whose installed image is meant. */
  readonly kernel?: string | undefined;
  /** Where installed kernels are looked for; `/` but in tests. */
  readonly root?: string | undefined;
}

/** VERSION, PATCHLEVEL and SUBLEVEL of a tree's Makefile. */
export interface TreeVersion {
  readonly major: number;
  readonly minor: number;
  readonly sub: number;
}

/**
 * Reads the version of a kernel source tree.
 * @throws KmendError `SOURCE_NOT_KERNEL` (exit 2), `SOURCE_UNREADABLE`.
 */
export async function readTreeVersion(tree: string): Promise<TreeVersion> {
  const info = await stat(tree).catch((error: unknown) => {
    if (systemErrorCode(error) === "ENOENT") throw notKernel(tree, "it does not exist");
    throw unreadable(tree, error);
  });
  if (!info.isDirectory()) throw notKernel(tree, "it is not a folder");
  const missing = [];
  for (const name of ["Makefile", "Kbuild", "scripts", "kernel"])
    if (!(await exists(join(tree, name)))) missing.push(name);
  if (missing.length > 0) throw notKernel(tree, `it has no ${missing.join(", ")}`);
  const text = await readFile(join(tree, "Makefile"), "utf8").catch((error: unknown) => {
    throw unreadable(join(tree, "Makefile"), error);
  });
  const [major, minor, sub] = ["VERSION", "PATCHLEVEL", "SUBLEVEL"].map((name) => {
    const value = new RegExp(`^${name}\\s*=\\s*(\\d+)\\s*$`, "m").exec(text)?.[1];
    if (value === undefined) throw notKernel(tree, `its Makefile sets no ${name}`);
    return Number(value);
  }) as [number, number, number];
  return { major, minor, sub };
}

function notKernel(where: string, why: string): KmendError {
  return new KmendError({
    code: "SOURCE_NOT_KERNEL",
    message: "this is not a kernel source tree",
    where,
    why,
    hint: "give the top folder of a kernel source tree",
    exitCode: ExitCode.usage,
  });
}

/**
 * Refuses a tree of another version than the image, as far as their names tell; the proof decides about the rest.
 * A release such as `6.1.0-9-amd64` says nothing about the third number (it is Debian's 6.1.27); Debian's banner then names the package version,
 * and Ubuntu's `… #101-Ubuntu SMP … (Ubuntu 5.15.0-91.101-generic 5.15.131)` the version of Linux.
 * @throws KmendError `SOURCE_OF_OTHER_VERSION` (exit 2)
 */
export function requireSameVersion(tree: string, version: TreeVersion, image: string, banner: KernelBanner): void {
  const packaged = /\bDebian (\d+\.\d+\.\d+)\S*|\bUbuntu \S+ (\d+\.\d+\.\d+)(?=\)$)/.exec(banner.version);
  const numbers = /^(\d+)\.(\d+)(?:\.(\d+))?(-\d)?/.exec(packaged?.[1] ?? packaged?.[2] ?? banner.release);
  if (numbers === null) return;
  const [, major, minor, sub, packageNumber] = numbers;
  const isExact = packageNumber === undefined || Number(sub) !== 0;
  const same =
    Number(major) === version.major &&
    Number(minor) === version.minor &&
    (!isExact || Number(sub ?? 0) === version.sub);
  if (same) return;
  throw new KmendError({
    code: "SOURCE_OF_OTHER_VERSION",
    message: `the source tree is Linux ${describeVersion(version)}, the image is ${banner.release}${packaged === null ? "" : ` (${packaged[0]})`}`,
    where: `${tree}, ${image}`,
    why: "a patch module can only be proven from exactly the source that the kernel was built from",
    hint: "check out the source of that kernel, or give the image that was built from this tree with --image FILE",
    exitCode: ExitCode.usage,
  });
}

/** `6.1.27`. */
export function describeVersion({ major, minor, sub }: TreeVersion): string {
  return `${major}.${minor}.${sub}`;
}

/** The x86 boot image of a tree that was built. */
const bootImage = "arch/x86/boot/bzImage";

/**
 * The kernel image that belongs to a tree: the one that was given, one in the tree, or an installed one of the release that the tree was built as, else of
 * the running kernel when it may be of this tree.
 * @param running release of the running kernel.
 * @returns undefined when there is none at all.
 * @throws KmendError `IMAGE_MISSING` for a release that was asked for.
 */
export async function findImage(
  request: SourceTreeRequest,
  version: TreeVersion,
  running: string,
): Promise<string | undefined> {
  if (request.image !== undefined) return request.image;
  const inTree = await imageInTree(request.path);
  if (inTree !== undefined && request.kernel === undefined) return inTree;
  const built = await readFile(join(request.path, "include/config/kernel.release"), "utf8").catch(() => "");
  const ofTree = new RegExp(`^${version.major}\\.${version.minor}\\b`);
  const releases =
    request.kernel === undefined ? [built.trim(), running].filter((name) => ofTree.test(name)) : [request.kernel];
  for (const release of releases) {
    const path = join(request.root ?? "/", "boot", `vmlinuz-${release}`);
    if (await exists(path)) return path;
  }
  if (request.kernel === undefined) return undefined;
  throw new KmendError({
    code: "IMAGE_MISSING",
    message: `there is no image of kernel ${request.kernel}`,
    where: join(request.root ?? "/", "boot", `vmlinuz-${request.kernel}`),
    hint: "give its vmlinuz or vmlinux with --image FILE",
    exitCode: ExitCode.usage,
  });
}

/** A boot image is preferred, since a virtual machine can start it; an older one than vmlinux is not of the last build. */
async function imageInTree(tree: string): Promise<string | undefined> {
  const [boot, plain] = await Promise.all(
    [bootImage, "vmlinux"].map((name) => stat(join(tree, name)).catch(() => undefined)),
  );
  if (boot !== undefined && boot.mtimeMs >= (plain?.mtimeMs ?? 0)) return join(tree, bootImage);
  return plain === undefined ? undefined : join(tree, "vmlinux");
}

/** The other files of a kernel. */
export interface CompanionFiles {
  readonly configPath: string;
  readonly symversPath: string;
  readonly modulesDir: string | undefined;
}

/**
 * Finds configuration, Module.symvers and modules of a tree and its image.
 * @throws KmendError `CONFIG_MISSING`, `SYMVERS_MISSING` (exit 2), `FILE_UNREADABLE`.
 */
export async function findCompanions(
  request: SourceTreeRequest,
  image: string,
  release: string,
): Promise<CompanionFiles> {
  const { path } = request;
  const roots = rootsOf(image, request.root ?? "/");
  const installed = roots.map((root) => join(root, "lib/modules", release));
  const configPath = await findConfig(request, roots, release);
  const symversPath = await firstReadable(
    request.symvers,
    [join(path, "Module.symvers"), ...installed.map((folder) => join(folder, "build/Module.symvers"))],
    {
      code: "SYMVERS_MISSING",
      message: `there is no Module.symvers of kernel ${release}`,
      why: "it says which symbols the kernel exports, and with which checksums",
      hint: "give it with --symvers FILE; it comes with the kernel's headers, or from make in the tree",
    },
  );
  const fromTree = resolve(image).startsWith(`${resolve(path)}/`);
  const order = fromTree ? [path, ...installed] : [...installed, path];
  return { configPath, symversPath, modulesDir: request.modules ?? (await firstWithModules(order)) };
}

/**
 * The configuration of a tree and, where there is one, its image.
 * @param roots where installed kernels are looked for.
 * @throws KmendError `CONFIG_MISSING` (exit 2), `FILE_UNREADABLE`.
 */
export function findConfig(request: SourceTreeRequest, roots: readonly string[], release?: string): Promise<string> {
  const installed = release === undefined ? [] : roots.map((root) => join(root, "boot", `config-${release}`));
  return firstReadable(request.config, [join(request.path, ".config"), ...installed], {
    code: "CONFIG_MISSING",
    message: `there is no configuration of the kernel${release === undefined ? "" : ` ${release}`}`,
    why: "code can only be compared with the kernel when it is compiled with the kernel's own configuration",
    hint: "give it with --config FILE, or put it into the tree as .config",
  });
}

/** An image `ROOT/boot/vmlinuz-…` has its other files below ROOT, as in an unpacked package. */
function rootsOf(image: string, root: string): string[] {
  const folder = dirname(resolve(image));
  return [
    ...new Set([
      ...(basename(folder) === "boot" && basename(dirname(folder)) !== "x86" ? [dirname(folder)] : []),
      root,
    ]),
  ];
}

async function firstReadable(
  given: string | undefined,
  candidates: readonly string[],
  missing: { code: string; message: string; why: string; hint: string },
): Promise<string> {
  for (const path of given === undefined ? candidates : [given]) {
    if (!(await exists(path))) continue;
    await access(path, constants.R_OK).catch((error: unknown) => {
      throw new KmendError({
        code: "FILE_UNREADABLE",
        message: `${basename(path)} cannot be read`,
        where: path,
        hint: "give a readable copy",
        cause: error,
      });
    });
    return path;
  }
  const where = given ?? candidates.join(", ");
  throw new KmendError({
    ...missing,
    ...(given === undefined ? {} : { message: `${given} does not exist` }),
    where,
    exitCode: ExitCode.usage,
  });
}

async function firstWithModules(folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    const list = await readFile(join(folder, "modules.order"), "utf8").catch(() => "");
    if (list === "") continue;
    const first = (list.split("\n")[0] ?? "").replace(/^kernel\//, "").replace(/\.k?o$/, "");
    // A list without files is what an interrupted build leaves.
    if (!(await exists(join(folder, "Kbuild"))) || (await exists(join(folder, `${first}.ko`)))) return folder;
  }
  return undefined;
}

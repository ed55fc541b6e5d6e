import { realpath, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { Machine, SectionFlag, SymbolType } from "../../elf/constants.ts";
import { ElfReader, isDefined } from "../../elf/reader.ts";
import { readVersions } from "../../elf/symbol-versions.ts";
import { readModinfo } from "../../patch-module/modinfo.ts";
import { exists } from "../../support/cache.ts";
import { compressionOf, decompress } from "../../support/decompress.ts";
import { ExitCode, KmendError, messageOf } from "../../support/errors.ts";
import { readInputFile } from "../../support/input-file.ts";
import { moduleName } from "../../support/module-file-name.ts";
import { type ExportedSymbols, joinSymbols, readSymvers } from "./symvers.ts";

/** A built module that is not part of the kernel's own packages or tree. */
export interface ExternalModule {
  /** As `/proc/modules` shows it. */
  readonly name: string;
  readonly path: string;
  /** Release of the kernel that it was built for. */
  readonly release: string;
  /** Unpacked ELF bytes, appended signature included. */
  readonly file: Uint8Array;
  /** What the compiler wrote about itself, for example `GCC: (Debian 12.2.0-9) 12.2.0`; undefined when it is not there. */
  readonly compiler: string | undefined;
}

/** By the names of Node: a module of another machine is no module for this one. */
const machines: Readonly<Record<string, number>> = {
  ...{ x64: Machine.x86_64, arm64: Machine.aarch64, ppc64: Machine.ppc64 },
  ...{ s390x: Machine.s390, loong64: Machine.loongarch },
};

/**
 * Reads and checks the file of an external module.
 * @throws KmendError `NOT_A_MODULE` (exit 2), `MODULE_WITHOUT_SYMBOLS` (exit 4).
 */
export async function readExternalModule(path: string, signal?: AbortSignal): Promise<ExternalModule> {
  const packed = await readInputFile(path).catch((error: unknown) => {
    throw notModule(path, `it cannot be read: ${messageOf(error)}`, error);
  });
  const file = compressionOf(packed) === undefined ? packed : await decompress(packed, path, { signal });
  const elf = read(file, path);
  const info = readModinfo(elf);
  const release = info.get("vermagic")?.[0]?.split(" ")[0];
  if (elf.header.machine !== machines[process.arch])
    throw notModule(path, `it is for another machine (ELF machine ${elf.header.machine})`);
  if (release === undefined) throw notModule(path, "it has no vermagic, as a module has that modpost went over");
  if (info.get("livepatch")?.[0] === "Y") throw notModule(path, "it is a patch module itself");
  const named = elf.symbols.some(
    (symbol) =>
      symbol.type === SymbolType.func &&
      isDefined(symbol) &&
      ((elf.sections[symbol.section]?.flags ?? 0) & SectionFlag.execinstr) !== 0,
  );
  if (!named) {
    throw new KmendError({
      code: "MODULE_WITHOUT_SYMBOLS",
      message: `the module ${basename(path)} names none of its functions`,
      where: path,
      why: "its symbol table was stripped, and the kernel finds what it replaces by name",
      hint: "give the module as it was built and loaded; strip --strip-debug leaves the names that are needed",
      exitCode: ExitCode.refused,
    });
  }
  const name = moduleName(info.get("name")?.[0] ?? basename(path));
  return { name, path, release, file, compiler: compilerOf(elf) };
}

function read(file: Uint8Array, path: string): ElfReader {
  try {
    return new ElfReader(file);
  } catch (error) {
    throw notModule(path, messageOf(error), error);
  }
}

/** `.comment` holds one text of each compiler, closed by zero bytes (gcc and clang manuals, -fno-ident). */
function compilerOf(elf: ElfReader): string | undefined {
  const data = elf.section(".comment")?.data;
  const texts = data === undefined ? [] : Buffer.from(data).toString("latin1").split("\0");
  return texts.find((text) => text !== "");
}

function notModule(where: string, why: string, cause?: unknown): KmendError {
  return new KmendError({
    code: "NOT_A_MODULE",
    message: `${basename(where)} is not a kernel module that can be patched`,
    where,
    why,
    hint: "give the .ko file of the module as it is loaded with --oot-module FILE",
    exitCode: ExitCode.usage,
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * The folder in which a module was built, read from the names of source files (`__FILE__`) in it; undefined when it holds none.
 * @param files source files, relative to the folder that is asked for.
 */
export function buildFolderOf({ file }: Pick<ExternalModule, "file">, files: readonly string[]): string | undefined {
  const byName = new Map<string, string[]>();
  for (const path of files) byName.set(basename(path), [...(byName.get(basename(path)) ?? []), path]);
  const counts = new Map<string, number>();
  for (const [, path = ""] of Buffer.from(file)
    .toString("latin1")
    .matchAll(/(?<=\0)(\/[^\0\n]{1,4000}\.[ch])\0/g)) {
    // The longest name that fits says most: `words/words.c` rather than another `words.c`.
    const [rest] = (byName.get(basename(path)) ?? [])
      .filter((known) => path.endsWith(`/${known}`))
      .sort((a, b) => b.length - a.length);
    const folder = rest === undefined ? undefined : path.slice(0, -rest.length - 1);
    if (folder !== undefined) counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0];
}

/**
 * Makes sure that a module is one of the target kernel: by its release, and by the version of every symbol that it uses, as the kernel's own loader does.
 * @throws KmendError `MODULE_OF_OTHER_KERNEL` (exit 2)
 */
export function requireModuleOf(
  { path, file, release: builtFor }: ExternalModule,
  release: string,
  symvers: ExportedSymbols,
): void {
  if (builtFor !== release) throw otherKernel(path, builtFor, release, `its vermagic says ${builtFor}`);
  for (const { name, crc } of readVersions(new ElfReader(file))) {
    const known = symvers.get(name);
    if (known === undefined || known.owner !== "vmlinux" || known.crc === crc) continue;
    const version = (value: number): string => `0x${value.toString(16).padStart(8, "0")}`;
    const why = `it expects version ${version(crc)} of the kernel's ${name}, which has ${version(known.crc)}`;
    throw otherKernel(path, builtFor, release, why);
  }
}

function otherKernel(where: string, builtFor: string, release: string, why: string): KmendError {
  return new KmendError({
    code: "MODULE_OF_OTHER_KERNEL",
    message: `the module ${basename(where)} was built for another kernel than ${release}`,
    where,
    why,
    hint:
      builtFor === release
        ? "give the module that was built for exactly this kernel, or the kernel that it was built for"
        : `give the module that was built for ${release}, or --kernel ${builtFor}`,
    exitCode: ExitCode.usage,
  });
}

/**
 * The real path of the folder with an external module's source.
 * @throws KmendError `NOT_MODULE_SOURCE` (exit 2)
 */
export async function moduleSourceFolder(given: string): Promise<string> {
  const path = await realpath(given).catch(() => resolve(given));
  const info = await stat(path).catch(() => undefined);
  const makefiles = await Promise.all(["Kbuild", "Makefile"].map((name) => exists(join(path, name))));
  if (info?.isDirectory() === true && makefiles.includes(true)) return path;
  throw new KmendError({
    code: "NOT_MODULE_SOURCE",
    message: "this is not the source of an external module",
    where: path,
    why: info === undefined ? "it does not exist" : "it is no folder with a Makefile or Kbuild file",
    hint: "give the folder that make M=DIR is called with, with --oot-module-src DIR",
    exitCode: ExitCode.usage,
  });
}

/**
 * Exports of the modules of a folder, from the Module.symvers that their build left there and from the files that KBUILD_EXTRA_SYMBOLS names
 * (Documentation/kbuild/modules.rst); empty without any.
 * @throws KmendError `SYMVERS_DAMAGED`
 */
export async function moduleSymvers(folder: string, further: readonly string[] = []): Promise<ExportedSymbols> {
  const own = join(folder, "Module.symvers");
  const files = [...((await exists(own)) ? [own] : []), ...further];
  const tables = await Promise.all(files.map((file) => readSymvers(file)));
  return joinSymbols(tables.reverse());
}

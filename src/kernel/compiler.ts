import { open, realpath } from "node:fs/promises";
import { basename, join } from "node:path";
import { cacheRoot, sha256 } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { findProgram } from "../support/find-program.ts";
import { run } from "../support/run.ts";
import type { KernelBanner } from "./image/banner.ts";
import { rememberOfFile } from "./image/file-digest.ts";

/** The kernel's compiler and the one that this machine has. */
export interface CompilerComparison {
  /** Both are the same package of the same version. */
  readonly same: boolean;
  /** What the kernel's banner names. */
  readonly kernel: string;
  /** First line of `--version` of the program here. */
  readonly here: string;
  /** Program to compile with: the one that the kernel names when it exists, else `gcc`. */
  readonly program: string;
}

/**
 * Finds the compiler to use and compares it with the kernel's.
 * @throws KmendError `PROGRAM_MISSING` (exit 5) when there is none at all.
 */
export async function compareCompiler(banner: KernelBanner, signal?: AbortSignal): Promise<CompilerComparison> {
  const named = namedProgram(banner.compiler);
  for (const program of new Set([named, "gcc"])) {
    const compared = await compareProgram(banner, program, signal);
    if (compared !== undefined) return compared;
  }
  throw new KmendError({
    code: "PROGRAM_MISSING",
    message: `${named} is not installed`,
    why: `the kernel was built with ${banner.compiler}`,
    hint: `install it: sudo apt-get install ${named}`,
    exitCode: ExitCode.environment,
  });
}

/** Compares one compiler with the kernel's. @returns undefined when there is no such program or it fails. */
export async function compareProgram(
  banner: KernelBanner,
  program: string,
  signal?: AbortSignal,
): Promise<CompilerComparison | undefined> {
  const here = await compilerVersion(program, signal);
  signal?.throwIfAborted();
  if (here === undefined) return undefined;
  return { same: describe(here) === describe(banner.compiler), kernel: banner.compiler, here, program };
}

/**
 * First line of what a compiler says to `--version`. It is remembered for a program that is the compiler itself; a script or ccache under a compiler's
 * name is asked each time, since what it calls may change.
 * @returns undefined when there is no such program or it fails.
 */
export async function compilerVersion(program: string, signal?: AbortSignal): Promise<string | undefined> {
  const ask = async (): Promise<string> => {
    const { exitCode, stdout } = await run(program, ["--version"], { signal, allowFailure: true });
    return exitCode === 0 ? (stdout.split("\n")[0]?.trim() ?? "") : "";
  };
  const path = await compilerItself(program);
  const isValid = (value: string): boolean => /^\S.*\d/.test(value);
  // The line begins with the name by which the program was called.
  const kind = join("compilers", basename(program));
  const known = path === undefined ? ask() : rememberOfFile(path, cacheRoot(), { kind, isValid, find: ask });
  const version = await known;
  return version === "" ? undefined : version;
}

/** The executable file behind a program's name when it is a compiler's own and no script. */
async function compilerItself(program: string): Promise<string | undefined> {
  const found = await findProgram(program);
  if (found === undefined) return undefined;
  const path = await realpath(found);
  if (!/(^|-)(gcc|clang)(-[\d.]+)?$/.test(basename(path))) return undefined;
  const file = await open(path);
  try {
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.toString("latin1") === "\x7fELF" ? path : undefined;
  } finally {
    await file.close();
  }
}

/**
 * The same comparison for an object file that tells by its `.comment` section what compiled it.
 * @param comment for example `GCC: (Debian 12.2.0-9) 12.2.0`, or clang's line as its `--version` prints it.
 */
export function compareWithComment(comparison: CompilerComparison, comment: string): CompilerComparison {
  const kernel = comment.replace(/^GCC: /, "gcc ");
  return { ...comparison, kernel, same: describe(comparison.here) === describe(kernel) };
}

/** @throws KmendError `COMPILER_DIFFERS` (exit 5) that prints both. */
export function requireSameCompiler(comparison: CompilerComparison): void {
  if (comparison.same) return;
  throw new KmendError({
    code: "COMPILER_DIFFERS",
    message: `the compiler here is not the one that built the kernel`,
    why: `kernel: ${comparison.kernel}\nhere:   ${comparison.here}`,
    hint: `install the kernel's compiler (${namedProgram(comparison.kernel)}); --skip-gcc-check continues and lets the proof decide`,
    exitCode: ExitCode.environment,
  });
}

/** Folder of the cache for what a compiler made for the kernel whose folder is `kernelFolder`. What is recorded there names the compiler by its path. */
export function toolchainFolder(kernelFolder: string, { here, program }: CompilerComparison): string {
  return join(kernelFolder, `toolchain-${sha256(program.includes("/") ? `${program}\n${here}` : here).slice(0, 8)}`);
}

/** The program that a compiler line begins with: `gcc-12` of `gcc-12 (Debian 12.2.0-9) 12.2.0`; `gcc` for the older form `gcc version 4.9.2 (…)`. */
function namedProgram(compiler: string): string {
  const program = /^[\w.+-]+/.exec(compiler)?.[0] ?? "gcc";
  return /^([\w-]+-)?(gcc|clang)(-[\d.]+)?$/.test(program) ? program : "gcc";
}

/** Package and version without the program's name, which depends on how it was called: `(Debian 12.2.0-9) 12.2.0`. */
function describe(line: string): string {
  const old = /^gcc version (.+?) \((.*?)\s*\)$/.exec(line.trim());
  if (old !== null) return `(${old[2]}) ${old[1]}`;
  return line.trim().replace(/^[\w.+-]+\s+/, "");
}

import { join } from "node:path";
import { sha256 } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { run } from "../support/run.ts";
import type { KernelBanner } from "./banner.ts";

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
    const result = await run(program, ["--version"], { signal, allowFailure: true });
    signal?.throwIfAborted();
    if (result.exitCode !== 0) continue;
    const here = result.stdout.split("\n")[0]?.trim() ?? "";
    return { same: describe(here) === describe(banner.compiler), kernel: banner.compiler, here, program };
  }
  throw new KmendError({
    code: "PROGRAM_MISSING",
    message: `${named} is not installed`,
    why: `the kernel was built with ${banner.compiler}`,
    hint: `install it: sudo apt-get install ${named}`,
    exitCode: ExitCode.environment,
  });
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
    hint: `install the kernel's compiler (${namedProgram(comparison.kernel)}); --skip-gcc-check goes on and leaves the verdict to the proof`,
    exitCode: ExitCode.environment,
  });
}

/** Folder of the cache for what this machine's compiler made for the kernel whose folder is `kernelFolder`. */
export function toolchainFolder(kernelFolder: string, { here }: CompilerComparison): string {
  return join(kernelFolder, `toolchain-${sha256(here).slice(0, 8)}`);
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

import { basename, join } from "node:path";
import { cacheRoot, sha256 } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import type { Progress } from "../../support/progress.ts";
import { type CompilerComparison, compareCompiler, compareProgram, requireSameCompiler } from "../compiler.ts";
import type { OfferedPackage } from "../sources/distribution/compiler-archive.ts";
import type { TargetKernel } from "../target-kernel.ts";
import { cachedRoot, makeRoot, type RootContext } from "./build-root.ts";
import { planRoot, type WantedCompiler, wantedCompiler } from "./wanted-compiler.ts";

/** How a compiler is chosen. */
export interface CompilerOptions {
  /** Use what is installed even if it is not the kernel's: the proof decides. */
  readonly skipCompilerCheck?: boolean | undefined;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/** A kernel with the compiler that its units are compiled with. */
export interface CompilerChoice {
  /** With a folder of the cache for this compiler: two compilers never share a prepared tree. */
  readonly kernel: TargetKernel;
  readonly compiler: CompilerComparison;
}

/**
 * The compiler that built a kernel: the installed one, else one of a build root from the archive of the kernel.
 * @throws KmendError `COMPILER_DIFFERS` (exit 5) with the versions that the archive has, where it has dropped the kernel's; errors of {@link makeRoot}.
 */
export async function chooseCompiler(kernel: TargetKernel, options: CompilerOptions): Promise<CompilerChoice> {
  const { progress, signal } = options;
  const installed = await compareCompiler(kernel.image.banner, signal).catch((error: unknown) => {
    if (error instanceof KmendError && error.code === "PROGRAM_MISSING") return error;
    throw error;
  });
  const isUsable = !(installed instanceof KmendError) && (installed.same || options.skipCompilerCheck === true);
  if (isUsable) {
    if (!installed.same)
      progress.note(
        `the compiler is not the kernel's (kernel: ${installed.kernel}; here: ${installed.here}): the proof decides`,
      );
    return { kernel: withFolderOf(kernel, installed), compiler: installed };
  }
  const wanted = wantedCompiler(kernel.image.banner);
  const found = wanted === undefined ? undefined : await fromRoot(wanted, kernel, installed, options);
  if (found !== undefined) return { kernel: withFolderOf(kernel, found), compiler: found };
  if (installed instanceof KmendError) throw installed;
  requireSameCompiler(installed);
  throw new Error("a compiler that differs was accepted");
}

/** Where the compiler of a kernel comes from, as far as it can be known without fetching anything. */
export type CompilerForecast =
  | { readonly from: "installed"; readonly compiler: string; readonly program: string }
  | { readonly from: "cached root"; readonly compiler: string; readonly program: string }
  /** A root is made: packages that are named, without those that they depend on. */
  | {
      readonly from: "archive";
      readonly compiler: string;
      readonly archive: string;
      readonly packages: readonly OfferedPackage[];
    }
  /** Nowhere: `problem` says why, in one clause. */
  | { readonly from: "nowhere"; readonly compiler: string; readonly problem: string };

/** Tells what {@link chooseCompiler} would do. */
export async function foreseeCompiler(kernel: TargetKernel, signal?: AbortSignal): Promise<CompilerForecast> {
  const { banner } = kernel.image;
  const { compiler } = banner;
  const installed = await compareCompiler(banner, signal).catch(() => undefined);
  if (installed?.same === true) return { from: "installed", compiler, program: installed.program };
  const wanted = wantedCompiler(banner);
  const nowhere = (problem: string): CompilerForecast => ({ from: "nowhere", compiler, problem });
  if (wanted === undefined) return nowhere("it is not installed, and it is no package of a distribution");
  const program = await cachedRoot(wanted, cacheRoot());
  if (program !== undefined) return { from: "cached root", compiler, program };
  if (kernel.compilers === undefined) return nowhere("it is not installed, and no archive is known that may have it");
  const archive = kernel.compilers.name;
  const plan = await planRoot(wanted, kernel.compilers);
  if ("packages" in plan) return { from: "archive", compiler, archive, packages: plan.packages };
  return nowhere(`it is not installed, and ${archive} has ${othersOf(wanted, plan.neighbours)}`);
}

function othersOf({ name, version }: WantedCompiler, neighbours: readonly string[]): string {
  return neighbours.length === 0 ? `no ${name}` : `${name} ${neighbours.join(", ")}, not ${version}`;
}

async function fromRoot(
  wanted: WantedCompiler,
  kernel: TargetKernel,
  installed: CompilerComparison | KmendError,
  { progress, signal }: CompilerOptions,
): Promise<CompilerComparison | undefined> {
  const context: RootContext = { cache: cacheRoot(), progress, signal };
  const archive = kernel.compilers;
  let program = await cachedRoot(wanted, context.cache);
  if (program === undefined) {
    if (archive === undefined) return undefined;
    const plan = await planRoot(wanted, archive);
    if ("neighbours" in plan) throw notOffered(wanted, plan.neighbours, archive.name, installed);
    program = await makeRoot(plan, archive, context).catch((error: unknown) => {
      throw withCompilers(error, kernel.image.banner.compiler, installed);
    });
  }
  const compared = await compareProgram(kernel.image.banner, program, signal);
  if (compared?.same === true) return compared;
  throw new KmendError({
    code: "BUILD_ROOT_FAILED",
    message: "the compiler of the build root is not the kernel's",
    where: program,
    why: `kernel: ${kernel.image.banner.compiler}\nroot:   ${compared?.here ?? "it does not run"}`,
    hint: "remove the root (kmend cache --prune 0) and try again; --skip-gcc-check builds with the compiler here",
    exitCode: ExitCode.environment,
  });
}

/** A machine that cannot have a root is told of both compilers: installing the kernel's is another way out. */
function withCompilers(error: unknown, kernel: string, installed: CompilerComparison | KmendError): unknown {
  if (!(error instanceof KmendError) || !["NAMESPACES_FORBIDDEN", "PROGRAM_MISSING"].includes(error.code)) return error;
  return new KmendError({
    code: "COMPILER_DIFFERS",
    message: "the compiler here is not the one that built the kernel, and no build root with it can be made",
    why: `kernel: ${kernel}\nhere:   ${nameOf(installed)}\n${error.message}${error.why === undefined ? "" : `: ${error.why}`}`,
    hint: `${error.hint}; or install the kernel's compiler; --skip-gcc-check continues and lets the proof decide`,
    exitCode: ExitCode.environment,
    cause: error,
  });
}

function nameOf(installed: CompilerComparison | KmendError): string {
  return installed instanceof KmendError ? "no compiler" : installed.here;
}

function notOffered(
  wanted: WantedCompiler,
  neighbours: readonly string[],
  archive: string,
  installed: CompilerComparison | KmendError,
): KmendError {
  const { name, version } = wanted;
  return new KmendError({
    code: "COMPILER_DIFFERS",
    message: "the compiler here is not the one that built the kernel",
    where: archive,
    why: `kernel: ${name} ${version}, which the archive does not offer: it has ${othersOf(wanted, neighbours)}\nhere:   ${nameOf(installed)}`,
    hint:
      `name an archive that has ${name} ${version} with --archive FILE; or install a neighbouring version and continue with --skip-gcc-check: ` +
      "the proof then decides for each function whether the code is the kernel's",
    exitCode: ExitCode.environment,
  });
}

/** What is made for a kernel with another compiler than the installed one of the kernel lies in a folder of its own below that of the kernel. */
function withFolderOf(kernel: TargetKernel, { same, program, here }: CompilerComparison): TargetKernel {
  if (same && !program.includes("/")) return kernel;
  const name = `compiler-${sha256(program, "\n", here).slice(0, 12)}`;
  return basename(kernel.folder) === name ? kernel : { ...kernel, folder: join(kernel.folder, name) };
}

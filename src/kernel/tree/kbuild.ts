import { join } from "node:path";
import { environmentOf } from "../../support/environment.ts";
import { type RunResult, run } from "../../support/run.ts";

/** What Kbuild's top Makefile hands down to the makes that it starts, for one prepared tree. */
export interface KbuildEnvironment {
  readonly variables: Readonly<Record<string, string>>;
  /** Folder, relative to the tree, with the source of a module that is not part of the kernel; Kbuild then starts there and not at the top. */
  readonly external?: string | undefined;
}

export interface KbuildOptions {
  /** Compilers at once; default 1. */
  readonly jobs?: number | undefined;
  /** More compiler flags, where the top Makefile puts those of KCFLAGS. */
  readonly compilerFlags?: readonly string[] | undefined;
  /** More variables for the command line of make. */
  readonly variables?: Readonly<Record<string, string>> | undefined;
  /** Print the commands instead of their short form. */
  readonly verbose?: boolean | undefined;
  /** A makefile that every make reads first ($MAKEFILES). */
  readonly makefile?: string | undefined;
  /** Print what would be run, and run nothing. */
  readonly dryRun?: boolean | undefined;
  /** Go on with other targets after a failure. */
  readonly keepGoing?: boolean | undefined;
  readonly logFile?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly allowFailure?: boolean | undefined;
}

/** Kept out of the recorded environment: they belong to the make that was asked, not to the tree. */
const notRecorded = /^(MAKE.*|MFLAGS|KCFLAGS|KAFLAGS|KCPPFLAGS|PWD|OLDPWD|SHLVL|_|HOME|PATH|LC_ALL|TMPDIR)$/;

/**
 * A makefile that adds a target printing the exported variables. GNU make reads it before the Makefile of the tree ($MAKEFILES). Where the top Makefile
 * calls itself once more (since Linux 6.10 also in the tree's own folder) it replaces the recipe at first, and the second call prints.
 */
const reporter = "kmend-environment:\n\t@env -0\n";

/** Text of the makefile that {@link recordEnvironment} needs. */
export function environmentReporter(): string {
  return reporter;
}

/**
 * Asks the top Makefile of a prepared tree for everything that it exports.
 * @param reporterPath a file with the text of {@link environmentReporter}.
 */
export async function recordEnvironment(
  tree: string,
  makeArguments: readonly string[],
  reporterPath: string,
  signal?: AbortSignal,
): Promise<KbuildEnvironment> {
  const { stdout } = await run("make", [...makeArguments, "kmend-environment"], {
    cwd: tree,
    env: { ...plainEnvironment(), MAKEFILES: reporterPath },
    cleanEnv: true,
    signal,
  });
  const variables: Record<string, string> = {};
  for (const entry of stdout.slice(stdout.lastIndexOf("\n", stdout.indexOf("\0")) + 1).split("\0")) {
    const equals = entry.indexOf("=");
    const name = entry.slice(0, equals);
    if (equals > 0 && !notRecorded.test(name)) variables[name] = entry.slice(equals + 1);
  }
  // A request for single objects sets this, which the reporting target is not.
  variables["KBUILD_MODULES"] = "1";
  return { variables };
}

/**
 * The environment for every make of a kernel tree: nothing of the user's, so that a stray CFLAGS, ARCH or O in their shell cannot change what is built.
 */
export function plainEnvironment(): Record<string, string> {
  return environmentOf(["PATH", "HOME", "TMPDIR", "CCACHE_DIR"]);
}

/**
 * Runs `make -f scripts/Makefile.build` with the recorded environment, as the top Makefile does for single objects, without its start-up of about a
 * second. The recorded commands (`cmd_…` in `.name.o.cmd`) are the same, byte for byte.
 * @param folder the prepared tree, or a folder that looks like it (srctree and objtree are `.`).
 * @param targets paths relative to the tree, for example `fs/proc/meminfo.o`.
 * @throws KmendError `PROGRAM_FAILED` with the compiler's last lines.
 */
export async function runKbuild(
  environment: KbuildEnvironment,
  folder: string,
  targets: readonly string[],
  options: KbuildOptions = {},
): Promise<RunResult> {
  const variables = Object.entries(options.variables ?? {}).map(([name, value]) => `${name}=${value}`);
  const args = [
    "-rR",
    "--no-print-directory",
    ...(options.jobs === undefined ? [] : [`-j${options.jobs}`]),
    ...(options.keepGoing === true ? ["-k"] : []),
    ...(options.dryRun === true ? ["-n"] : []),
    "-f",
    "./scripts/Makefile.build",
    ...startOf(environment),
    "need-modorder=1",
    ...variables,
    ...targets.map((target) => (environment.external === undefined ? `./${target}` : target)),
  ];
  return run("make", args, {
    cwd: folder,
    env: {
      ...makeEnvironment(environment, folder),
      ...(options.compilerFlags === undefined ? {} : withFlags(environment, options.compilerFlags)),
      ...(options.makefile === undefined ? {} : { MAKEFILES: options.makefile }),
      ...(options.verbose === true ? { KBUILD_VERBOSE: "1", quiet: "", Q: "" } : {}),
    },
    cleanEnv: true,
    logFile: options.logFile,
    signal: options.signal,
    allowFailure: options.allowFailure,
  });
}

/** Descending from the top hands on what the directories above export (subdir-ccflags-y). */
function startOf({ external }: KbuildEnvironment): string[] {
  return external === undefined ? ["obj=.", "need-builtin=1"] : [`obj=${external}`];
}

/**
 * The variables for a make in `folder`. What `make M=DIR` sets is what makefiles of external modules ask for (Documentation/kbuild/modules.rst); PWD is the
 * folder of such a make, as many of them take it to be, and not where kmend was started.
 */
export function makeEnvironment({ variables, external }: KbuildEnvironment, folder: string): Record<string, string> {
  const all = { ...plainEnvironment(), ...variables };
  return external === undefined ? all : { ...all, M: external, KBUILD_EXTMOD: external, PWD: join(folder, external) };
}

function withFlags(environment: KbuildEnvironment, flags: readonly string[]): Record<string, string> {
  return { KBUILD_CFLAGS: [environment.variables["KBUILD_CFLAGS"] ?? "", ...flags].join(" ") };
}

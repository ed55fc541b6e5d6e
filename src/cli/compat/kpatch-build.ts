import { basename } from "node:path";
import type { BuildOptions, BuildResult } from "../../build/build-types.ts";
import { hintIn, optionOfBuild } from "../../refusals/refusals.ts";
import { environmentVariable } from "../../support/environment.ts";
import { ExitCode } from "../../support/errors.ts";
import type { Need } from "../../support/requirement-table.ts";
import { version } from "../../support/version.ts";
import type { ArgumentDefinition, OptionDefinition } from "../command.ts";
import { externalFrom } from "../options/external-options.ts";
import { formatProblem } from "../report/problem.ts";
import type { CommandIo } from "../run-command-line.ts";
import { Reporter } from "../terminal/reporter.ts";
import { styleFor } from "../terminal/style.ts";
import { failureOf, parseOlder, tellFailure } from "./older-program.ts";

const name = "kpatch-build";

/** Options of kpatch-build. */
export const kpatchBuildOptions: readonly OptionDefinition[] = [
  { flags: "-a, --archversion <RELEASE>", description: "kernel to patch (default: the running one)" },
  {
    flags: "-r, --sourcerpm <FILE>",
    description: "source RPM of the kernel; dnf finds the packages that were built from it",
  },
  {
    flags: "--kernel-rpm <FILE>",
    description: "core, modules or devel RPM of the kernel of --sourcerpm (repeatable; not of the original)",
    repeatable: true,
  },
  { flags: "--dnf-config <FILE>", description: "dnf.conf in place of the system's (not of the original)" },
  { flags: "-s, --sourcedir <DIR>", description: "kernel source tree of your own; it is only read" },
  { flags: "-c, --config <FILE>", description: "configuration of the kernel (default: .config of the source tree)" },
  { flags: "-v, --vmlinux <FILE>", description: "image of the kernel" },
  { flags: "-j, --jobs <N>", description: "compilers at once", minimum: 1 },
  {
    flags: "-t, --target <TARGET>",
    description: "make target (repeatable); only touched files are compiled, so nothing depends on it",
    repeatable: true,
  },
  { flags: "-n, --name <NAME>", description: "name of the module" },
  { flags: "-o, --output <DIR>", description: "folder for the module" },
  { flags: "-d, --debug", description: "more output (repeatable)", counted: true },
  { flags: "--oot-module <FILE>", description: "out-of-tree module that the patches change, as it is loaded" },
  { flags: "--oot-module-src <DIR>", description: "its source; it is only read" },
  { flags: "-R, --non-replace", description: "leave earlier patch modules active" },
  { flags: "--skip-cleanup", description: "nothing of yours is changed, so there is nothing to clean up" },
  { flags: "--skip-compiler-check", description: "accept another compiler than the kernel's" },
  { flags: "--skip-gcc-check", description: "deprecated: --skip-compiler-check" },
];

/** What kpatch-build is given besides. */
export const kpatchBuildArgument: ArgumentDefinition = {
  name: "PATCH...",
  description: "unified diffs against the kernel source, strip level 1",
  offers: [{ files: [".patch", ".diff"] }],
};

interface Choices {
  readonly archversion?: string;
  readonly sourcerpm?: string;
  readonly kernelRpm?: readonly string[];
  readonly dnfConfig?: string;
  readonly sourcedir?: string;
  readonly config?: string;
  readonly vmlinux?: string;
  readonly jobs?: number;
  readonly target?: readonly string[];
  readonly name?: string;
  readonly output?: string;
  readonly ootModule?: string;
  readonly ootModuleSrc?: string;
  readonly debug?: number;
  readonly nonReplace?: true;
  readonly skipCleanup?: true;
  readonly skipCompilerCheck?: true;
  readonly skipGccCheck?: true;
}

/**
 * The interface of kpatch-build 0.9.11: source patches in, a patch module out, its words on standard output. What it did by rebuilding the kernel in a
 * cache of its own, kmend does with the touched units; the source directory is only read.
 * @returns 0, or 1 for everything else, as the original; standard error tells which.
 */
export async function runKpatchBuild(args: readonly string[], io: CommandIo): Promise<ExitCode> {
  const { stdout, stderr, signal } = io;
  const request = parse(args);
  if (request.kind === "text") {
    (request.failed ? stderr : stdout).write(request.text);
    return request.failed ? ExitCode.failure : ExitCode.done;
  }
  const { choices, patches } = request;
  const reporter = new Reporter(stderr, (choices.debug ?? 0) > 1 ? 2 : 1);
  try {
    for (const note of notesOn(choices)) reporter.note(note);
    const { ensureRequirements } = await import("../../support/requirements.ts");
    const needs: Need[] = ["build"];
    if (choices.sourcerpm !== undefined)
      needs.push("source-rpm", ...(choices.kernelRpm === undefined ? ["dnf" as const] : []));
    await ensureRequirements({ needs, install: true, progress: reporter, signal });
    const { build } = await import("../../build/build.ts");
    const result = await build({ ...buildRequest(choices, patches), progress: reporter, signal });
    return tell(result, io, reporter);
  } catch (thrown) {
    const error = failureOf(thrown, io);
    tellFailure(error, io);
    return error.exitCode === ExitCode.interrupted ? ExitCode.interrupted : ExitCode.failure;
  } finally {
    reporter.stop();
  }
}

type Request =
  | { readonly kind: "run"; readonly choices: Choices; readonly patches: readonly string[] }
  | { readonly kind: "text"; readonly text: string; readonly failed: boolean };

function parse(args: readonly string[]): Request {
  const parsed = parseOlder(
    {
      name,
      description: "Makes a kernel live patch module from source patches.",
      version: `Version : ${version()} (kmend)`,
      versionFlags: "--version",
      helpFlags: "-h, --help",
      argument: { ...kpatchBuildArgument, name: `<${kpatchBuildArgument.name}>` },
      options: kpatchBuildOptions,
    },
    args,
  );
  if (parsed.kind === "text") {
    const failed = parsed.problem.exitCode !== 0;
    return { kind: "text", text: failed ? `${parsed.text}${name} --help shows what there is\n` : parsed.text, failed };
  }
  const { command } = parsed;
  const choices = command.opts<Choices>();
  const clash = choices.archversion !== undefined ? "-a" : choices.sourcedir !== undefined ? "-s" : undefined;
  if (choices.sourcerpm !== undefined && clash !== undefined) {
    const why = "the source RPM tells which kernel is meant";
    return { kind: "text", text: `error: ${clash} does not go with -r/--sourcerpm: ${why}\n`, failed: true };
  }
  return { kind: "run", choices, patches: command.args };
}

function notesOn({ skipGccCheck, target, sourcedir, config }: Choices): string[] {
  const notes: string[] = [];
  if (skipGccCheck) notes.push("DEPRECATED: --skip-gcc-check, use --skip-compiler-check instead");
  if (target !== undefined)
    notes.push(`--target ${target.join(" ")}: only the touched files are compiled, whatever the target`);
  if (config !== undefined && sourcedir === undefined)
    notes.push(`--config ${config} is not used: the packages of a stock kernel have their own`);
  return notes;
}

function buildRequest(choices: Choices, patches: readonly string[]): BuildOptions {
  const { archversion, sourcerpm, sourcedir, config, vmlinux, jobs, output, ootModule, ootModuleSrc } = choices;
  return {
    patches,
    kernel: archversion,
    image: vmlinux,
    ...externalFrom(ootModule, ootModuleSrc, furtherSymvers(ootModule)),
    ...(sourcedir === undefined ? {} : { source: { path: sourcedir, config, symvers: undefined } }),
    ...(sourcerpm === undefined
      ? {}
      : { rpms: { sourceRpm: sourcerpm, kernelRpms: choices.kernelRpm, dnfConfiguration: choices.dnfConfig } }),
    jobs,
    output,
    name: choices.name,
    replace: choices.nonReplace !== true,
    skipCompilerCheck: choices.skipCompilerCheck === true || choices.skipGccCheck === true,
  };
}

/** The files that Kbuild, and kpatch-build with it, takes from the environment (Documentation/kbuild/modules.rst). */
function furtherSymvers(ootModule: string | undefined): string[] {
  return ootModule === undefined
    ? []
    : (environmentVariable("KBUILD_EXTRA_SYMBOLS") ?? "").split(/\s+/).filter(Boolean);
}

/** Says what came out in the words that scripts around kpatch-build look for. */
function tell(result: BuildResult, { stdout, stderr }: CommandIo, reporter: Reporter): ExitCode {
  for (const note of result.notes) reporter.note(note);
  for (const { function: watched, unit, why, hint } of result.warnings)
    reporter.note(`WARNING: ${watched} (${unit}): ${why}; ${hint}`);
  for (const { unit, change, name: changed } of result.functions)
    stdout.write(`${unit.replace(/\.c$/, ".o")}: ${change} function: ${changed}\n`);
  if (result.outcome === "unchanged") {
    stderr.write("ERROR: no functional changes found.\n");
    return ExitCode.failure;
  }
  for (const refusal of result.refusals) {
    const { code, what, where, why } = refusal;
    const hint = hintIn(refusal, optionOfBuild);
    stderr.write(formatProblem({ kind: "refused", code, message: what, where, why, hint }, styleFor(stderr)));
  }
  if (result.module === null) {
    stderr.write(`ERROR: ${result.refusals.length} error(s) encountered.\n`);
    return ExitCode.failure;
  }
  const objects = [...new Set(result.units.map(({ object }) => object))].sort();
  stdout.write(
    `Patched objects: ${objects.join(" ")}\nBuilding patch module: ${basename(result.module.path)}\nSUCCESS\n`,
  );
  return ExitCode.done;
}

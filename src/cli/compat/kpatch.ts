import { basename } from "node:path";
import { findInstalled } from "../../host/installed/installed.ts";
import { thisHost } from "../../host/kernel/host.ts";
import { type HostStatus, readHostStatus } from "../../host/status/status.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { version } from "../../support/version.ts";
import type { CommandWords, Offer, OptionDefinition } from "../command.ts";
import { asKmendError, formatProblem } from "../report/problem.ts";
import { type CommandIo, runCommandLine } from "../run-command-line.ts";
import { styleFor } from "../terminal/style.ts";

/** A command of the kpatch utility. */
export interface KpatchCommand extends CommandWords {
  /** What follows the name. */
  readonly args: string;
}

const kernelVersion: OptionDefinition = {
  flags: "-k, --kernel-version <RELEASE>",
  description: "kernel that the patch module is for (default: the running one)",
};
const all: OptionDefinition = { flags: "--all", description: "all of them" };

function kpatchCommand(
  name: string,
  args: string,
  description: string,
  options: readonly OptionDefinition[] = [],
  offers: readonly Offer[] = [],
): KpatchCommand {
  const module = { name: "MODULE", description: "a file, or the name of a patch module", offers };
  return { name, args, description, options, arguments: offers.length === 0 ? [] : [module] };
}

const files: Offer = { files: [".ko"] };

/** The commands of kpatch, in the order of its help. */
export const kpatchCommands: readonly KpatchCommand[] = [
  kpatchCommand(
    "install",
    "[-k|--kernel-version=<kernel version>] <module>",
    "install a patch module for its kernel",
    [kernelVersion],
    [files],
  ),
  kpatchCommand(
    "uninstall",
    "[-k|--kernel-version=<kernel version>] <module>",
    "remove an installed patch module",
    [kernelVersion],
    [{ names: ["installed"] }],
  ),
  kpatchCommand(
    "load",
    "--all | <module>",
    "load all installed patch modules, or one: a file, or the name of an installed one",
    [all],
    [files, { names: ["installed"] }],
  ),
  kpatchCommand(
    "unload",
    "--all | <module>",
    "unload all loaded patch modules, or one",
    [all],
    [{ names: ["loaded"] }],
  ),
  kpatchCommand(
    "replace",
    "<module>",
    "load a cumulative patch module in the place of all loaded ones",
    [],
    [files, { names: ["installed"] }],
  ),
  kpatchCommand(
    "info",
    "<module>",
    "show what is known about a patch module",
    [],
    [files, { names: ["installed", "loaded"] }],
  ),
  kpatchCommand("list", "", "list loaded and installed patch modules"),
  kpatchCommand("signal", "", "signal the processes that block a transition"),
  kpatchCommand("force", "<module>", "end a stalled transition at the risk of the system", [], [{ names: ["loaded"] }]),
  kpatchCommand("version", "", "show the version"),
];

const usage = `usage: kpatch <command> [<args>]

${kpatchCommands.map(({ name, args, description }) => `  ${`${name} ${args}`.trim()}\n      ${description}\n`).join("")}`;

/**
 * The interface of the kpatch utility, as a translation to kmend's commands.
 * @returns 0, or 1 for whatever went wrong, as the original; 130 after an interrupt.
 */
export async function runKpatch(args: readonly string[], io: CommandIo): Promise<ExitCode> {
  const { stdout, stderr } = io;
  try {
    const [command = "help", ...rest] = args;
    switch (command) {
      case "version":
      case "-v":
      case "--version":
        stdout.write(`${version()}\n`);
        return ExitCode.done;
      case "help":
      case "-h":
      case "--help":
        stdout.write(usage);
        return ExitCode.failure;
      case "list":
        for (const line of listLines(await readHostStatus())) stdout.write(`${line}\n`);
        return ExitCode.done;
      default:
        return mapped(await runCommandLine(await translated(command, rest), io));
    }
  } catch (thrown) {
    const { code, message, where, why, hint } = asKmendError(thrown);
    stderr.write(formatProblem({ kind: "error", code, message, where, why, hint }, styleFor(stderr)));
    return ExitCode.failure;
  }
}

function mapped(code: ExitCode): ExitCode {
  return code === ExitCode.done || code === ExitCode.interrupted ? code : ExitCode.failure;
}

/** Commands that take exactly one module. */
const ofOneModule: ReadonlySet<string> = new Set([
  "install",
  "uninstall",
  "load",
  "unload",
  "replace",
  "info",
  "force",
]);

async function translated(command: string, args: readonly string[]): Promise<readonly string[]> {
  if (command === "signal") {
    if (args.length > 0) throw wrong("signal takes no arguments");
    return ["signal"];
  }
  if (!ofOneModule.has(command)) throw wrong(`there is no command ${command}`);
  if ((command === "load" || command === "unload") && args.length === 1 && args[0] === "--all") {
    return [command, "--all"];
  }
  const { kernel, operands } = kernelAndOperands(command, args);
  const [module] = operands;
  if (module === undefined || operands.length > 1) throw wrong(`${command} needs one module`);
  if (command === "install") await refuseSecond(module, kernel);
  // A word that begins with a dash is no option of kmend's.
  return [command, ...(kernel === undefined ? [] : ["--kernel", kernel]), "--", module];
}

/** `-k V`, `-kV`, `--kernel-version V` and `--kernel-version=V`, before or after the module. */
function kernelAndOperands(
  command: string,
  args: readonly string[],
): { readonly kernel: string | undefined; readonly operands: readonly string[] } {
  const operands: string[] = [];
  let kernel: string | undefined;
  for (let at = 0; at < args.length; at++) {
    const word = args[at] as string;
    const attached = /^(?:-k|--kernel-version=)(.+)$/.exec(word)?.[1];
    const takes = command === "install" || command === "uninstall";
    if (takes && attached !== undefined) kernel = attached;
    else if (takes && (word === "-k" || word === "--kernel-version")) {
      kernel = args[++at];
      if (kernel === undefined) throw wrong(`${word} needs a kernel version`);
    } else if (word.startsWith("-")) throw wrong(`${command} has no option ${word}`);
    else operands.push(word);
  }
  return { kernel, operands };
}

/** kmend replaces an installed module by another build of it; kpatch wants it uninstalled first. */
async function refuseSecond(module: string, kernel: string | undefined): Promise<void> {
  const host = thisHost();
  const release = kernel ?? host.release;
  const found = await findInstalled(host.root, release, basename(module));
  if (found === undefined) return;
  throw new KmendError({ code: "ALREADY_INSTALLED", message: `${found.file} is already installed for ${release}` });
}

function wrong(message: string): KmendError {
  return new KmendError({ code: "USAGE", message, hint: "kpatch help shows what there is", exitCode: ExitCode.usage });
}

/** The lists in kpatch's form, which scripts read. */
export function listLines({ loaded, installed, transition }: HostStatus): string[] {
  const lines = ["Loaded patch modules:"];
  for (const { name, state } of loaded) lines.push(`${name} [${state.endsWith("ing") ? `${state}...` : state}]`);
  if (transition !== null && transition.tasks.length > 0) {
    lines.push("", "Stalled processes:");
    for (const { tid, name, stack } of transition.tasks) lines.push(`${tid} ${name}`, ...(stack ?? []));
  }
  lines.push("", "Installed patch modules:");
  for (const { name, release } of installed) lines.push(`${name} (${release})`);
  return lines;
}

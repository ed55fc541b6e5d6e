import { mkdtemp, rm } from "node:fs/promises";
import { release, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { LoadResult } from "../../host/load/load.ts";
import type { StopOutcome } from "../../stop/stop.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import { makeFolder } from "../../support/make-folder.ts";
import type { CommandContext, CommandDefinition, OptionValues } from "../command.ts";
import { cveDataOption } from "../options/cve-options.ts";
import { parseDuration } from "../options/duration.ts";
import { changeExitCodes, changeOf, dryRunOption, timeoutOption } from "../options/host-options.ts";
import { kernelNeeds, kernelOptions, namedKernel } from "../options/kernel-options.ts";
import { usageError } from "../options/usage.ts";
import { reportChange } from "../report/host-report.ts";
import { reportStop } from "../report/stop-report.ts";

/** Options that say what the module does; shared with `try`. */
export const stopOptions: CommandDefinition["options"] = [
  { flags: "--object <MODULE>", description: "kernel module that the functions are in (default: the kernel itself)" },
  { flags: "--sympos <N>", description: "which of several functions of that name, from 1 on", minimum: 1 },
  {
    flags: "--return <VALUE>",
    description:
      "what the functions return: a number, an error such as -EACCES, NULL, ERR_PTR(-EPERM), true, false (default: by the type: nothing, false, -EPERM, NULL)",
  },
  {
    flags: "--log",
    description: "count the calls, and report them in the kernel log as often as its rate limit allows",
  },
];

export const stopCommand: CommandDefinition = {
  name: "stop",
  summary: "make functions of the kernel return at once",
  description:
    "Closes a way into the kernel until a fix is there: writes a live patch module whose functions return an error at once, and loads it. Needs no compiler, headers or source. With --output, writes the module and loads nothing. Refuses functions that the kernel cannot do without.",
  arguments: [
    {
      name: "[FUNCTION...]",
      description: "functions as /proc/kallsyms names them, or MODULE:FUNCTION,POSITION=VALUE",
    },
  ],
  options: [
    ...stopOptions,
    { flags: "--reason <TEXT>", description: "why, in one line; CVE numbers in it are kept as such" },
    {
      flags: "--cve <ID>",
      description: "vulnerability that this keeps from being used (repeatable)",
      repeatable: true,
    },
    { flags: "--for <DURATION>", description: "end by itself after 90s, 30m, 12h or 7d; a reboot ends it too" },
    { flags: "--install", description: "load it again after each reboot, until kmend uninstall" },
    { flags: "-o, --output <FILE>", description: "write the module to this file (NAME.ko), and load nothing" },
    { flags: "--name <NAME>", description: "name of the module (default: stop-FUNCTION)" },
    {
      flags: "--suggest <WHAT>",
      description:
        "list the functions that close a subsystem (ptrace, io_uring), a module, or what a vulnerability is in (CVE-2026-12345), and what each breaks",
    },
    cveDataOption,
    {
      flags: "--expire <LOAD>",
      description: "unload the stop whose time is over; what the timer of --for calls",
    },
    timeoutOption,
    dryRunOption,
    ...kernelOptions,
  ],
  examples: [
    {
      command: "kmend stop userfaultfd_ioctl --reason 'CVE-2026-12345' --for 7d",
      description: "let each ioctl of a userfaultfd fail for a week",
    },
    {
      command: "kmend stop --object algif_hash hash_sendmsg --log",
      description: "stop a function of a module, and count its callers",
    },
    { command: "kmend stop --suggest nf_tables", description: "list what closes a module, and what that breaks" },
    {
      command: "kmend stop ptrace_attach --kernel newest -o stop-ptrace.ko",
      description: "make the module for another kernel",
    },
  ],
  exitCodes: {
    ...changeExitCodes,
    [ExitCode.unchanged]: "no entry point is known (--suggest)",
    [ExitCode.refused]: "a function cannot or must not be stopped, or this kernel does not allow it",
  },
  async run(context, operands, options) {
    const expiry = options.text("expire");
    if (expiry !== undefined) return expireStop(context, expiry, options);
    const subject = options.text("suggest");
    if (subject !== undefined) {
      if (operands.length > 0) throw usageError("kmend stop", "--suggest stops nothing, so no function goes with it");
      const { suggestStops } = await import("./suggest-stops.ts");
      return suggestStops(context, subject, options);
    }
    if (operands.length === 0) throw usageError("kmend stop", "a function is missing, or --suggest WHAT");
    const seconds = checkCombination(options);
    const { outcome, file } = await makeStopFile(context, operands, options, options.text("output"));
    const output = options.text("output");
    if (outcome.module === null || file === undefined) {
      reportStop(context, { ...outcome, path: null, until: null });
      return ExitCode.refused;
    }
    const name = outcome.module.name;
    if (output !== undefined) {
      const { writeOutputFile } = await import("../../support/output-folder.ts");
      if (!options.flag("dryRun")) await writeOutputFile(output, file);
      reportStop(context, { ...outcome, path: output, until: null });
      return ExitCode.done;
    }
    if (!namedKernel(options).isOpen) {
      reportStop(context, { ...outcome, path: null, until: null });
      return ExitCode.done;
    }
    return loadStop(context, { outcome, file, name, seconds }, options);
  },
};

/** @returns the seconds of `--for`. @throws KmendError `USAGE` */
function checkCombination(options: OptionValues): number | undefined {
  const duration = options.text("for");
  const seconds = duration === undefined ? undefined : parseDuration(duration);
  const output = options.text("output");
  const { isOpen } = namedKernel(options);
  if (output !== undefined && !output.endsWith(".ko"))
    throw usageError("kmend stop", "--output takes a file whose name ends in .ko");
  if (output === undefined && !isOpen && !options.flag("dryRun"))
    throw usageError("kmend stop", "a stop of another kernel cannot be loaded here: add --output FILE.ko");
  if (seconds !== undefined && options.flag("install"))
    throw usageError("kmend stop", "--for ends at the next reboot, and --install outlives it: give one of them");
  if (output !== undefined && (seconds !== undefined || options.flag("install")))
    throw usageError("kmend stop", "--output loads nothing, so --for and --install do not go with it");
  return seconds;
}

/** Makes the module of the options; shared with `try`. */
export async function makeStopFile(
  context: CommandContext,
  functions: readonly string[],
  options: OptionValues,
  output: string | undefined,
): Promise<{ readonly outcome: StopOutcome; readonly file: Uint8Array | undefined }> {
  const { progress, signal } = context;
  const { choice, isOpen } = namedKernel(options);
  const { ensureRequirements } = await import("../../support/requirements.ts");
  if (!isOpen) await ensureRequirements({ needs: kernelNeeds(options), install: false, progress, signal });
  const { nameOfOutput, stop } = await import("../../stop/stop.ts");
  return stop({
    ...choice,
    functions,
    defaults: {
      ...{ object: options.text("object"), sympos: options.integer("sympos") },
      returns: options.text("return"),
    },
    ...{ log: options.flag("log"), reason: options.text("reason"), cves: cvesOf(options) },
    name: options.text("name") ?? nameOfOutput(output),
    running: { root: "/", release: release() },
    ...{ progress, signal },
  });
}

function cvesOf(options: OptionValues): readonly string[] {
  return options.list("cve").map((text) => {
    if (/^CVE-\d{4}-\d{4,10}$/.test(text)) return text;
    throw usageError("kmend stop", `${text} is not the number of a vulnerability, such as CVE-2026-12345`);
  });
}

interface MadeStop {
  readonly outcome: StopOutcome;
  readonly file: Uint8Array;
  readonly name: string;
  readonly seconds: number | undefined;
}

/** Loads a module that was made for the running kernel, and does what else was asked for. */
async function loadStop(context: CommandContext, made: MadeStop, options: OptionValues): Promise<ExitCode> {
  const { load, requireRoot } = await import("../../host/load/load.ts");
  const { thisHost } = await import("../../host/kernel/host.ts");
  const host = thisHost();
  const dryRun = options.flag("dryRun");
  requireRoot(host, dryRun);
  const { outcome, name } = made;
  const path = await writeForLoad(made, dryRun);
  const result: LoadResult = await load({ operands: [path], ...changeOf(context, options) });
  const isLoaded = result.modules.some(({ outcome: end }) => end === "loaded" || end === "already");
  if (dryRun) await rm(dirname(path), { recursive: true, force: true });
  else if (!isLoaded) await rm(path, { force: true });
  let until: string | null = null;
  let problem: KmendError | undefined;
  if (isLoaded && made.seconds !== undefined) {
    const { expireAfter } = await import("../../host/stop/expiry.ts");
    const { kernelModuleName } = await import("../../host/installed/installed.ts");
    try {
      until = await expireAfter(kernelModuleName(name), made.seconds, host);
    } catch (error) {
      if (!(error instanceof KmendError)) throw error;
      problem = error;
    }
  }
  const installed = isLoaded && options.flag("install") ? await installStop(context, path) : null;
  if (context.json) context.printJson({ ...outcome, path, until, load: result, install: installed });
  else {
    reportStop(context, { ...outcome, path: null, until });
    reportChange(context, result);
    if (installed !== null) reportChange(context, installed);
  }
  if (problem !== undefined) throw problem;
  const { hostExitCode } = await import("../report/host-exit-codes.ts");
  const code = hostExitCode(result);
  return code === ExitCode.done && installed !== null ? hostExitCode(installed) : code;
}

/** Where the module waits for its load: a folder of root's own, or for a dry run one for temporary files. */
async function writeForLoad({ file, name }: MadeStop, dryRun: boolean): Promise<string> {
  const { kernelModuleName } = await import("../../host/installed/installed.ts");
  const { stopsFolder, prepareRunFolder } = await import("../../host/kernel/run-folder.ts");
  const { writeFileAtomically, rethrowDiskErrors } = await import("../../support/cache.ts");
  if (!dryRun) await prepareRunFolder("/");
  const folder = dryRun ? await mkdtemp(join(tmpdir(), "kmend-stop-")) : stopsFolder;
  await makeFolder(folder, 0o755);
  const path = join(folder, `${kernelModuleName(name)}.ko`);
  await writeFileAtomically(path, file).catch(rethrowDiskErrors);
  return path;
}

async function installStop(context: CommandContext, path: string) {
  const { install } = await import("../../host/installed/install.ts");
  const { progress, signal } = context;
  const result = await install({ operands: [path], progress, signal });
  context.progress.note(result.boot.text);
  return result;
}

/** What the timer of `--for` does. */
async function expireStop(context: CommandContext, text: string, options: OptionValues): Promise<ExitCode> {
  const { parseExpiry } = await import("../../host/stop/expiry-text.ts");
  const expiry = parseExpiry(text);
  if (expiry === undefined) throw usageError("kmend stop", "--expire takes what the timer of --for gives it");
  const { expire } = await import("../../host/stop/expiry.ts");
  const result = await expire(expiry, changeOf(context, options));
  if (result === undefined) {
    context.print(`${expiry.name} is not loaded any more, or was loaded again`);
    return ExitCode.done;
  }
  reportChange(context, result);
  const { hostExitCode } = await import("../report/host-exit-codes.ts");
  return hostExitCode(result);
}

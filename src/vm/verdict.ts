import { callbackRefusal } from "../refusals/callback-refusal.ts";
import { findAlarm, logSince, relevantLines, transitionTime, withoutTime } from "./guest-log.ts";
import { probeTimedOut } from "./guest-script.ts";
import type { PatchedFunction } from "./patch-module.ts";
import type { GuestEnd } from "./qemu.ts";
import type { Frame } from "./serial-frames.ts";
import type { CalledFunction, ProbeResult, StalledTask, TryResult } from "./try-types.ts";

/** All that one run of the guest left behind. */
export interface GuestReport {
  readonly token: string;
  readonly frames: readonly Frame[];
  readonly end: GuestEnd;
  readonly timeoutSeconds: number;
  readonly probeLimitSeconds: number;
  readonly transitionLimitSeconds: number;
  /** Names of the modules loaded first, in order. */
  readonly modules: readonly string[];
  /** Numbers of those that only the patch is about: their own init function may say no on this machine. */
  readonly optional?: readonly number[];
  readonly probes: readonly string[];
  /** Functions whose calls were counted, in the order of their events. */
  readonly counted?: readonly PatchedFunction[];
  /** See {@link GuestPlan}. */
  readonly staysInMemory: boolean;
  /** The name that the patch module's file claims. */
  readonly moduleName: string;
}

/** The part of a {@link TryResult} that follows from what the guest said. */
export type Verdict = Pick<
  TryResult,
  | "verdict"
  | "module"
  | "transitionMilliseconds"
  | "probes"
  | "calls"
  | "kernelLog"
  | "failure"
  | "stalledTasks"
  | "remarks"
>;

/** Judges a run: passed only when every step worked, nothing alarming was logged and each probe's third output equals its first. */
export function judge(report: GuestReport): Verdict {
  const frame = (name: string): Frame | undefined => report.frames.find((candidate) => candidate.name === name);
  const log = patchLog(report);
  const probes = report.probes.map((command, index) => probeResult(command, index, frame));
  const name = frame("name")?.text.trim() || report.moduleName;
  const failure =
    failedStep(report, frame, log.sincePatch) ?? alarm(log.sincePatch) ?? failedProbe(report, probes, frame);
  const calls = callsOf(report, frame);
  const absent = absentModules(report, frame);
  const relevant = relevantLines(log.sincePatch);
  const stalled = frame("disabled")?.status === 1 ? frame("disabled") : frame("patched");
  return {
    verdict: failure === null ? "passed" : "failed",
    module: name,
    transitionMilliseconds: transitionTime(log.sincePatch, name),
    probes,
    ...(calls.length === 0 ? {} : { calls }),
    // A step that failed without a telling line: the end of the log is all there is to show.
    kernelLog: failure !== null && relevant.every((line) => findAlarm([line]) === undefined) ? log.tail : relevant,
    failure,
    stalledTasks: parseStalledTasks(stalled?.status === 1 ? stalled.text : ""),
    remarks: [
      ...absent.map(
        ({ name, said }) =>
          `${name} does not start on this virtual machine by itself (${said}), so what the patch changes in it was not tried`,
      ),
      ...(failure === null && isIdle(calls, absent) ? [idleRemark] : []),
      ...(report.staysInMemory ? [staysRemark] : []),
    ],
  };
}

/** Line of klp_enable_patch() (kernel/livepatch/core.c). */
function isEnabling(line: string): boolean {
  return /livepatch: enabling patch '/.test(line);
}

const blindText =
  "the patch was enabled, and from then on the programs of the virtual machine could not read its state: they may need what it changes";

const staysRemark =
  "the module stays in memory until the next boot, so it was not unloaded: addresses of it may be kept";

const idleRemark =
  "loaded, but no patched function was called: the trial shows that the module loads and unloads, and nothing of what it does; a probe that reaches one shows more";

const tailLines = 30;

/** The guest's own copy of the kernel log where it got that far, else what reached the console. */
function patchLog(report: GuestReport): { readonly sincePatch: readonly string[]; readonly tail: readonly string[] } {
  const log = report.frames.find((frame) => frame.name === "log")?.text ?? report.end.console;
  const all = log.replaceAll("\r", "").split("\n").filter(Boolean);
  const sincePatch = logSince(log, report.token, "patch") ?? [];
  const start = logSince(log, report.token, "start") ?? all;
  return { sincePatch, tail: (sincePatch.length > 0 ? sincePatch : start).slice(-tailLines) };
}

type FindFrame = (name: string) => Frame | undefined;

/** Steps in the order in which the guest reports them; the first that is missing or failed explains everything after it. */
function failedStep(report: GuestReport, frame: FindFrame, log: readonly string[]): string | null {
  const ended = (doing: string): string => `${describeEnd(report)} ${doing}`;
  if (frame("booted") === undefined) return ended("before its init ran");
  for (const [index, module] of report.modules.entries()) {
    const loaded = frame(`module.${index}`);
    if (loaded === undefined) return ended(`while it loaded module ${module}`);
    if (loaded.status !== 0 && !isAbsent(report, frame, index)) {
      return `module ${module} could not be loaded: ${oneLine(loaded.text)}`;
    }
  }
  const load = frame("load");
  if (load === undefined) {
    const useless = findUselessProbe(report, frame);
    if (useless !== undefined) return useless;
    return ended(
      frame(`again.${report.probes.length - 1}`)
        ? "while it loaded the patch module"
        : "while the probes ran before the load",
    );
  }
  if (load.status !== 0) {
    const refusal = callbackRefusal(log, load.text);
    if (refusal !== undefined) return `the patch module could not be loaded: ${refusal}`;
    const cause = findAlarm(log);
    const said = cause === undefined ? "" : ` (${withoutTime(cause.line)})`;
    return `the patch module could not be loaded: ${oneLine(load.text)}${said}`;
  }
  const name = frame("name");
  if (name === undefined) return ended("right after it loaded the patch module");
  if (name.text.trim() === "")
    return log.some(isEnabling) ? blindText : "the module was loaded, but registered no live patch";
  const limit = `did not end within ${report.transitionLimitSeconds} s`;
  const patched = frame("patched");
  if (patched === undefined) return ended("during the transition");
  if (patched.status !== 0) return `the transition ${limit}: some tasks still run the old code`;
  const disable = frame("disable");
  if (disable === undefined) return ended("while the probes ran with the patch active");
  if (disable.status !== 0) return `the patch could not be disabled: ${oneLine(disable.text)}`;
  const disabled = frame("disabled");
  if (disabled === undefined) return ended("while the patch was reverted");
  if (disabled.status !== 0) return `the transition back ${limit}: some tasks still run the new code`;
  const unload = frame("unload");
  if (unload === undefined) return ended("while it unloaded the patch module");
  if (unload.status !== 0 && report.staysInMemory)
    return "the patch module went away though it says that it stays in memory";
  if (unload.status !== 0) return `the patch module could not be unloaded: ${oneLine(unload.text)}`;
  if (frame("done") === undefined) return ended("after the patch module was unloaded");
  return null;
}

/** Errors of the loader itself, which a module's own init function does not give: the file does not fit the kernel. */
const loaderErrors =
  /invalid module format|exec format|invalid format|key was rejected|required key|cannot allocate|out of memory/i;

/** A module that only the patch is about, and whose own init function said no: it drives what this machine does not have. */
function isAbsent({ optional = [] }: Pick<GuestReport, "optional">, frame: FindFrame, index: number): boolean {
  const loaded = frame(`module.${index}`);
  if (!optional.includes(index) || loaded === undefined || loaded.status === 0) return false;
  if (loaderErrors.test(loaded.text)) return false;
  // One that needs another which is not there lacks its symbols.
  return (
    !/unknown symbol/i.test(loaded.text) ||
    optional.some((other) => other < index && isAbsent({ optional: [other] }, frame, other))
  );
}

function absentModules(report: GuestReport, frame: FindFrame): { readonly name: string; readonly said: string }[] {
  return report.modules.flatMap((name, index) =>
    isAbsent(report, frame, index) ? [{ name, said: lastReason(frame(`module.${index}`)?.text ?? "") }] : [],
  );
}

/** The error of insmod without the path of the file. */
function lastReason(text: string): string {
  const line = oneLine(text);
  return line.slice(line.lastIndexOf(": ") + 1).trim();
}

function describeEnd(report: GuestReport): string {
  const { end } = report;
  const panic = /Kernel panic - not syncing: (.*)/.exec(end.console)?.[1];
  if (panic !== undefined) return `the guest panicked (${panic.trim()})`;
  if (end.timedOut) return `the guest did not finish within ${report.timeoutSeconds} s and was stopped`;
  return `the guest ended (QEMU exit code ${end.exitCode ?? "none, killed"}${end.stderr === "" ? "" : `: ${oneLine(end.stderr)}`})`;
}

function alarm(lines: readonly string[]): string | null {
  const finding = findAlarm(lines);
  return finding === undefined ? null : `${finding.reason}: ${withoutTime(finding.line)}`;
}

/** Exit codes of sh(1) and of the guest's script for a probe that says nothing about the patch. */
const uselessProbe: Readonly<Record<number, (report: GuestReport) => string>> = {
  126: () => "cannot be run in the guest",
  127: () => "is not a command of the guest (it has busybox and nothing else)",
  [probeTimedOut]: (report) => `did not end within ${report.probeLimitSeconds} s`,
};

function findUselessProbe(report: GuestReport, frame: FindFrame): string | undefined {
  for (const [index, command] of report.probes.entries()) {
    for (const phase of ["before", "again", "loaded", "after"]) {
      const useless = uselessProbe[frame(`${phase}.${index}`)?.status ?? 0];
      if (useless !== undefined) return `probe ${JSON.stringify(command)} ${useless(report)}`;
    }
  }
  return undefined;
}

function failedProbe(report: GuestReport, probes: readonly ProbeResult[], frame: FindFrame): string | null {
  const useless = findUselessProbe(report, frame);
  if (useless !== undefined) return useless;
  for (const [index, probe] of probes.entries()) {
    const first = frame(`before.${index}`);
    const third = frame(`after.${index}`);
    if (probe.varies === true || (first?.text === third?.text && first?.status === third?.status)) continue;
    return `probe ${JSON.stringify(probe.command)} does not give its first result again after ${report.staysInMemory ? "the patch was reverted" : "the unload"}`;
  }
  return null;
}

function probeResult(command: string, index: number, frame: FindFrame): ProbeResult {
  const output = (phase: string): string => (frame(`${phase}.${index}`)?.text ?? "").replace(/\n$/, "");
  const before = output("before");
  const repeated = frame(`again.${index}`) !== undefined && output("again") !== before;
  const result = { command, before, loaded: output("loaded"), after: output("after") };
  return repeated ? { ...result, varies: true } : result;
}

/** Whether nothing that could be called was. A module that does not start has its own remark. */
function isIdle(calls: readonly CalledFunction[], absent: readonly { readonly name: string }[]): boolean {
  const callable = calls.filter(({ object }) => !absent.some(({ name }) => name === object));
  return callable.length > 0 && callable.every((one) => one.calls === 0);
}

/** The kernel's table of kprobe events: name, hits, and those that it missed. */
function callsOf({ counted = [] }: GuestReport, frame: FindFrame): CalledFunction[] {
  const hits = new Map(
    [...(frame("calls")?.text ?? "").matchAll(/^\s*f(\d+)\s+(\d+)\s+(\d+)\s*$/gm)].map(
      ([, event, hit, missed]) => [Number(event), Number(hit) + Number(missed)] as const,
    ),
  );
  return counted.flatMap(({ object, name }, event) => {
    const calls = hits.get(event);
    return calls === undefined ? [] : [{ object, name, calls }];
  });
}

function parseStalledTasks(text: string): StalledTask[] {
  const tasks: { task: number; name: string; stack: string[] }[] = [];
  for (const line of text.split("\n")) {
    const head = /^task (\d+) (.*)$/.exec(line);
    if (head !== null) tasks.push({ task: Number(head[1]), name: head[2] as string, stack: [] });
    else if (line !== "") tasks.at(-1)?.stack.push(line.replace(/^\[<[0-9a-fx]+>\] /, ""));
  }
  return tasks;
}

function oneLine(text: string): string {
  return (
    text
      .trim()
      .split("\n")
      .join("; ")
      .replace(/^insmod: can't insert '[^']*': /, "") || "no message"
  );
}
